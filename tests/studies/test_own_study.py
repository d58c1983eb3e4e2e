"""A study of the user's own: a file of a folder of options, with no published numbers, gives a table."""

import json
import subprocess
import sys

import pytest

from advvid.core.errors import AdvvidError
from advvid.studies.catalogue import all_targets, studies

STUDY = """\
# Ours
runs:
  plain: {overrides: [tracker=none, schedule.epochs=1, dataset.limit_train=20, dataset.limit_val=10, dataset.limit_test=10]}
scores:
  pgd: {overrides: [suite=own, attack=ours]}
targets:
  our-table:
    title: What our attack does
    rows: {plain: plain}
    cell: {score: pgd}
    columns: {clean: {}, ours: {}}
"""


@pytest.fixture
def conf(tmp_path, monkeypatch):
    (tmp_path / "conf" / "study").mkdir(parents=True)
    (tmp_path / "conf" / "attack").mkdir()
    (tmp_path / "conf" / "study" / "ours.yaml").write_text(STUDY)
    (tmp_path / "conf" / "attack" / "ours.yaml").write_text("# Ours\n_target_: advvid.attacks.PGD\nsteps: 1\n")
    monkeypatch.setenv("ADVVID_CONFIG_DIR", str(tmp_path / "conf"))
    studies.cache_clear()
    yield tmp_path / "conf"
    studies.cache_clear()


def test_it_stands_among_the_others(conf):
    target = all_targets()["our-table"]
    assert list(target.cells["plain"]) == ["clean", "ours"]
    assert list(target.wanted("demo")) == [("plain", "pgd")]
    (conf / "study" / "kinfu.yaml").write_text(STUDY)
    studies.cache_clear()
    with pytest.raises(AdvvidError, match=r"there is a study or table kinfu already"):
        studies()


@pytest.mark.slow
def test_it_is_made(conf, tmp_path):
    command = [sys.executable, "-m", "advvid.papers", "run", "our-table", "--scale", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads((tmp_path / "outputs/papers/demo/tables/our-table.json").read_text())
    assert made["columns"] == ["clean", "ours"]
    cells = made["rows"][0]["cells"]
    assert all(cell["measured"] is not None and cell["published"] is None for cell in cells.values()), cells

"""A study of the user's own: a file of a folder of options, with no published numbers, gives a table."""

import json
import os
import subprocess
import sys

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


def test_it_is_listed_and_made(tmp_path):
    (tmp_path / "conf" / "study").mkdir(parents=True)
    (tmp_path / "conf" / "attack").mkdir()
    (tmp_path / "conf" / "study" / "ours.yaml").write_text(STUDY)
    (tmp_path / "conf" / "attack" / "ours.yaml").write_text("# Ours\n_target_: advvid.attacks.PGD\nsteps: 1\n")
    told = {**os.environ, "ADVVID_CONFIG_DIR": str(tmp_path / "conf"), "COLUMNS": "200"}

    def papers(*words):
        command = [sys.executable, "-m", "advvid.papers", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=told, timeout=300)

    done = papers("run", "our-table", "--scale", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads((tmp_path / "outputs/papers/demo/tables/our-table.json").read_text())
    assert made["columns"] == ["clean", "ours"]
    cells = made["rows"][0]["cells"]
    assert all(cell["measured"] is not None and cell["published"] is None for cell in cells.values()), cells
    assert "our-table" in papers("list").stdout

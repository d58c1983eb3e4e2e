"""Offline tracking works without a login and leaves everything in the run folder."""

import json
import subprocess
import sys

import pytest
from omegaconf import OmegaConf
from PIL import Image

from advvid.config.instantiate import safe_instantiate
from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir
from advvid.tracking.trackers import WandbTracker


@pytest.fixture
def stranger(monkeypatch, tmp_path):
    """A user without a W&B account, key or settings."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # whoever tries the network fails


def use(tracker, run_dir, picture):
    tracker.start(run_dir, {"attack": {"eps": "8/255"}}, "a name")
    tracker.log({"train/loss": 1.5}, step=0)
    tracker.log({"train/loss": 0.5}, step=1)
    tracker.table("robustness", ["run", "clean", "pgd"], [["cat", 0.96, None], ["none", 0.99, "–"]])
    tracker.image("pgd", picture)
    tracker.summary({"clean": {"acc": 0.96}})
    tracker.finish()


def test_offline_record_lies_in_the_run_folder_and_a_resumed_run_keeps_its_identity(stranger, tmp_path, capfd):
    picture = tmp_path / "sheet.png"
    Image.new("RGB", (4, 4), "red").save(picture)
    run_dir = tmp_path / "run"
    tracker = safe_instantiate(OmegaConf.load(conf_dir() / "tracker" / "wandb.yaml"))
    use(tracker, run_dir, picture)
    (record,) = (run_dir / "wandb").glob("offline-run-*")
    assert any(record.glob("run-*.wandb"))
    (table,) = record.glob("files/media/table/*.json")
    assert json.loads(table.read_text())["data"][0] == ["cat", 0.96, None]
    assert len(list(record.glob("files/media/images/*.png"))) == 1

    again = WandbTracker()
    again.start(run_dir, {}, "a name")
    again.finish()
    ids = {path.name.rsplit("-", 1)[1] for path in (run_dir / "wandb").glob("offline-run-*")}
    assert ids == {(run_dir / "wandb" / "advvid_run_id").read_text().strip()}
    said = capfd.readouterr()
    assert said.out == ""
    assert "log in" not in said.err.lower()


def test_online_without_a_login_names_the_way_out(stranger, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115
    with pytest.raises(AdvvidError, match=r"W&B did not start .*tracker=none"):
        WandbTracker(mode="online").start(tmp_path, {}, "a name")


def test_none_keeps_nothing(tmp_path):
    tracker = safe_instantiate(OmegaConf.load(conf_dir() / "tracker" / "none.yaml"))
    use(tracker, tmp_path / "run", tmp_path / "absent.png")
    assert not (tmp_path / "run").exists()


def test_misuse_is_told():
    with pytest.raises(AdvvidError, match=r"mode='of'.*offline"):
        WandbTracker(mode="of")
    with pytest.raises(AdvvidError, match="not started"):
        WandbTracker().log({"loss": 1.0}, step=0)


def test_wandb_is_not_imported_before_it_is_used():
    code = "import sys, advvid.tracking.trackers; advvid.tracking.trackers.WandbTracker(); sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Offline tracking works without a login and leaves everything in the run folder."""

import json
import subprocess
import sys

import pytest
from omegaconf import OmegaConf
from PIL import Image

from advvid.config.command_line import several_trackers
from advvid.config.composed import composed
from advvid.config.instantiate import safe_instantiate
from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir
from advvid.tracking import CsvTracker, NoTracker, SeveralTrackers, TensorboardTracker, WandbTracker

try:
    import tensorboard
except ImportError:
    tensorboard = None


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
    tracker.video("pgd", picture.with_suffix(".gif"))
    tracker.summary({"clean": {"acc": 0.96}})
    tracker.artifact("robustness", [picture])
    tracker.finish()


def read_back(run_dir):
    """Return the records of an offline run by their kind, as W&B's own reader prints them."""
    found = {}
    for record in sorted((run_dir / "wandb").glob("offline-run-*/run-*.wandb")):
        said = subprocess.run(
            [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(record)],
            capture_output=True,
            text=True,
            check=True,
        )
        for line in said.stdout.splitlines():
            entry = json.loads(line)
            found.setdefault(entry["type"], []).append(entry)
    return found


def test_offline_record_lies_in_the_run_folder_and_a_resumed_run_keeps_its_identity(stranger, tmp_path, capfd):
    picture = tmp_path / "sheet.png"
    Image.new("RGB", (4, 4), "red").save(picture)
    Image.new("RGB", (4, 4), "red").save(picture.with_suffix(".gif"))
    run_dir = tmp_path / "run"
    tracker = safe_instantiate(OmegaConf.load(conf_dir() / "tracker" / "wandb.yaml"))
    use(tracker, run_dir, picture)
    (record,) = (run_dir / "wandb").glob("offline-run-*")
    assert any(record.glob("run-*.wandb"))
    (table,) = record.glob("files/media/table/*.json")
    assert json.loads(table.read_text())["data"] == [["cat", 0.96, None], ["none", 0.99, "–"]]
    assert len(list(record.glob("files/media/images/*.png"))) == 1

    again = WandbTracker()
    again.start(run_dir, {}, "a name")
    again.finish()
    # offline-run-<time>-<id>, and -1 behind it where both began within a second
    ids = {path.name.split("-")[3] for path in (run_dir / "wandb").glob("offline-run-*")}
    assert ids == {(run_dir / "wandb" / "advvid_run_id").read_text().strip()}
    said = capfd.readouterr()
    assert said.out == ""
    assert "log in" not in said.err.lower()


def test_an_offline_run_is_read_back_by_the_library_itself(stranger, tmp_path):
    picture, sweep = tmp_path / "sheet.png", tmp_path / "sweep"
    Image.new("RGB", (4, 4), "red").save(picture)
    Image.new("RGB", (4, 4), "red").save(picture.with_suffix(".gif"))
    (sweep / "3").mkdir(parents=True)
    (sweep / "multirun.yaml").write_text("")
    for tracker in (WandbTracker(tags=["mine"]), WandbTracker(group="ours", job_type="kind")):  # and resumed
        tracker.start(sweep / "3", {"mode": "eval", "attack": {"eps": "8/255"}}, "a name")
        tracker.log({"train/loss": 1.5}, step=0)
        tracker.table("robustness", ["column", "accuracy (%)"], [["pgd", 9.5], ["clean", 90.0], ["fab", None]])
        tracker.image("pgd", picture)
        tracker.video("pgd", picture.with_suffix(".gif"))
        tracker.artifact("checkpoints", [picture])
        tracker.summary({"acc/pgd": 0.095})
        tracker.finish()
    found = read_back(sweep / "3")
    first, again = (record["run"] for record in found["run"][:1] + found["run"][-1:])
    assert first["run_id"] == again["run_id"]
    assert (first["run_group"], first["job_type"], first["tags"]) == ("sweep", "eval", ["mine"])
    assert (again["run_group"], again["job_type"]) == ("ours", "kind")
    assert first["config"]["update"]["attack"] == {"eps": "8/255"}
    items = [record["history"]["item"] for record in found["history"]]
    assert items[0]["train/loss"] == 1.5
    assert any(item.get("pgd._type") == "image-file" for item in items)
    (film,) = [item for item in items[:4] if item.get("film/pgd._type") == "video-file"]
    assert film["film/pgd.path"].endswith(".gif")
    kept = [record["artifact"] for record in found["artifact"] if record["artifact"]["type"] == "checkpoints"]
    assert {entry["path"] for one in kept for entry in one["manifest"]["contents"]} == {"sheet.png"}
    assert {entry["local_path"] for one in kept for entry in one["manifest"]["contents"]} == {str(picture)}  # no copy
    (table, _) = (sweep / "3" / "wandb").glob("offline-run-*/files/media/table/*.json")
    assert [row[1] for row in json.loads(table.read_text())["data"]] == [9.5, 90.0, None]  # numbers, which sort
    assert not list((tmp_path / "home").rglob("artifacts/staging/*"))


def points(path):
    return path.read_text().splitlines()


def test_curves_and_tables_are_csv_files_and_a_resumed_run_goes_on_in_them(tmp_path):
    for steps in ((0, 1, 2), (2, 3)):
        tracker = CsvTracker()
        tracker.start(tmp_path, {}, "a name")
        for step in steps:
            tracker.log({"train/loss": step + len(steps) / 10}, step=step)
    tracker.table("robustness", ["column", "accuracy (%)"], [["pgd", 9.5], ["a, b", None]])
    tracker.summary({"acc/pgd": 0.095})
    tracker.finish()
    curves = ["step,metric,value", "0,train/loss,0.3", "1,train/loss,1.3", "2,train/loss,2.2", "3,train/loss,3.2"]
    assert points(tmp_path / "csv" / "curves.csv") == curves
    assert points(tmp_path / "csv" / "robustness.csv") == ["column,accuracy (%)", "pgd,9.5", '"a, b",']
    assert points(tmp_path / "csv" / "summary.csv") == ["name,value", "acc/pgd,0.095"]
    with pytest.raises(AdvvidError, match="not started"):
        CsvTracker().log({"loss": 1.0}, step=0)


@pytest.mark.skipif(tensorboard is None, reason="tensorboard is not installed: the extra tensorboard")
def test_tensorboard_reads_what_was_written(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    picture = tmp_path / "sheet.png"
    Image.new("RGB", (4, 4), "red").save(picture)
    Image.new("RGB", (4, 4), "red").save(picture.with_suffix(".gif"))
    for steps in ((0, 1, 2), (2, 3)):
        tracker = TensorboardTracker()
        tracker.start(tmp_path, {}, "a name")
        for step in steps:
            tracker.log({"train/loss": step + len(steps) / 10}, step=step)
        tracker.table("robustness", ["column", "accuracy (%)"], [["pgd", 9.5], ["fab", None]])
        tracker.image("pgd", picture)
        tracker.finish()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, round(e.value, 3)) for e in events.Scalars("train/loss")] == [
        (0, 0.3),
        (1, 1.3),
        (2, 2.2),
        (3, 3.2),
    ]
    assert events.Tags()["images"] == ["pgd"]


@pytest.mark.skipif(tensorboard is not None, reason="tensorboard is installed")
def test_without_tensorboard_the_extra_is_named(tmp_path):
    with pytest.raises(AdvvidError, match=r"advvid\[tensorboard\]"):
        TensorboardTracker().start(tmp_path, {}, "a name")


def test_several_trackers_hear_the_same(tmp_path):
    places = {name: tmp_path / name for name in "ab"}

    class Elsewhere(CsvTracker):
        def __init__(self, place):
            super().__init__()
            self.place = place

        def start(self, run_dir, config, name):
            super().start(self.place, config, name)

    tracker = SeveralTrackers(of={**{name: Elsewhere(place) for name, place in places.items()}, "none": NoTracker()})
    use(tracker, tmp_path, tmp_path / "absent.png")
    files = [sorted((path.name, path.read_text()) for path in (place / "csv").iterdir()) for place in places.values()]
    assert files[0] == files[1]
    assert len(files[0]) == 3


def test_several_trackers_are_written_as_a_list():
    assert several_trackers(["tracker=[wandb, csv]", "seed=1"]) == [
        "tracker=several",
        "+tracker@tracker.of.wandb=wandb",
        "+tracker@tracker.of.csv=csv",
        "seed=1",
    ]
    for words in (["tracker=wandb"], ["tracker.tags=[a,b]"], ["tracker=none,csv"]):
        assert several_trackers(words) == words
    words = [*several_trackers(["tracker=[wandb,csv]"]), "tracker.of.wandb.mode=disabled"]
    made = safe_instantiate(composed(words).tracker)
    assert [type(tracker) for tracker in made.of.values()] == [WandbTracker, CsvTracker]
    assert made.of["wandb"].mode == "disabled"


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
    code = "import sys, advvid.tracking; advvid.tracking.WandbTracker(); sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

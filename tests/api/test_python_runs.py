"""Runs from Python: made, read back, measured again, and put to use on a video file."""

import json

import pytest

import advvid
from advvid.core.errors import AdvvidError

SMALL = (
    "defense=at",
    "defense.inner_steps=1",
    "attack=pgd",
    "attack.steps=2",
    "suite=quick",
    "dataset.limit_train=20",
    "dataset.limit_val=10",
    "dataset.limit_test=10",
    "schedule.epochs=1",
    "evaluation.pictures=0",
    "tracker=none",
    "runtime.threads=1",
    "runtime=cpu",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return advvid.train(*SMALL, run_dir=tmp_path_factory.mktemp("runs") / "at")


def test_a_run_comes_back_with_model_classes_data_and_table(run):
    again = advvid.load_run(run.folder)
    assert again.table == run.table
    assert len(again.table.samples) == again.table.n == 10
    assert list(again.classes) == list(run.dataset.classes)
    assert not again.model.training
    assert (run.folder / ".hydra" / "overrides.yaml").is_file()


def test_evaluating_it_in_python_gives_the_numbers_of_the_command_line_clip_by_clip(run):
    attack = {name: run.table.attacks[name].settings for name in run.table.attacks}
    assert attack["pgd"]["steps"] == 2
    table = advvid.evaluate(run.model, run.dataset, suite="quick", device="cpu")
    shared = [
        name for name in run.table.attacks if name != "pgd"
    ]  # in Python, the suite's own attack is the default one
    for old, new in zip(run.table.samples, table.samples, strict=True):
        assert (old["id"], old["label"], old["clean"]) == (new["id"], new["label"], new["clean"])
        for name in (*shared, *run.table.controls):
            assert {k: v for k, v in old["attacks"][name].items() if k != "seconds"} == {
                k: v for k, v in new["attacks"][name].items() if k != "seconds"
            }
    assert table["clean"].acc == run.table["clean"].acc


def test_a_video_file_is_attacked_with_it(run, tmp_path):
    video = next(run.dataset.root.rglob("*.avi"))
    found = advvid.attack_videos(
        run.folder,
        video,
        "attack=pgd",
        "attack.steps=2",
        "evaluation.pictures=0",
        "runtime=cpu",
        run_dir=tmp_path / "out",
    )
    assert found["n"] == 1
    assert json.loads((tmp_path / "out" / "attack.json").read_text())["clips"][0]["file"] == str(video)
    with pytest.raises(AdvvidError, match="no video to attack"):
        advvid.attack_videos(run, [], run_dir=tmp_path / "none")


def test_what_the_command_line_refuses_is_refused(tmp_path):
    with pytest.raises(AdvvidError, match="defense"):
        advvid.train("defense=att", run_dir=tmp_path / "a")
    with pytest.raises(AdvvidError, match="give a run folder"):
        advvid.load_run(tmp_path / "nowhere")
    assert not (tmp_path / "a" / "checkpoints").exists()


def test_words_mean_what_they_mean_on_the_command_line(tmp_path):
    """Several trackers, and packages to trust, which the command line reads before Hydra does."""
    with pytest.raises(AdvvidError, match="trust names 'os'"):
        advvid.train(*SMALL, "trust=os", run_dir=tmp_path / "a")
    words = [word for word in SMALL if not word.startswith("tracker")]
    advvid.train(*words, "tracker=[csv,none]", "mode=train", run_dir=tmp_path / "b")
    assert list((tmp_path / "b" / "csv").glob("*.csv"))

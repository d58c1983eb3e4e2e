import os
from pathlib import Path

import pytest

from advvid.core.errors import AdvvidError
from advvid.data.lists import read_hmdb51, read_ucf101
from advvid.studies import check
from advvid.studies.__main__ import main
from advvid.studies.catalogue import find_target, studies
from advvid.studies.few_clips import Copies
from advvid.studies.plan import SCALES
from advvid.studies.tables import make_table
from advvid.studies.work import Runner

REAL = os.environ.get("ADVVID_REALDATA")
needs_clips = pytest.mark.skipif(not REAL, reason="ADVVID_REALDATA names no folder of real clips and official lists")


@needs_clips
def test_the_official_lists_name_all_classes():
    counts = {name: len(classes) for name, classes in Copies.below(Path(REAL)).classes().items()}
    assert counts == {"ucf101": 101, "hmdb51": 51}


@needs_clips
def test_lists_of_the_few_clips_keep_all_classes(tmp_path):
    copies = Copies.below(Path(REAL))
    root, splits, overlap = copies.overrides("ucf101", tmp_path / "a")
    assert overlap == "dataset.allow_overlap=true"  # the few are trained on and scored
    lists = read_ucf101(Path(splits.partition("=")[2]), 1)
    assert len(lists.classes) == 101
    videos = [entry.path for entry in lists.splits["train"]]
    assert len(videos) >= 4
    assert all((Path(root.partition("=")[2]) / video).is_file() for video in videos)
    copies.overrides("hmdb51", tmp_path / "b")
    lists = read_hmdb51(tmp_path / "b", 1)
    assert len(lists.classes) == 51
    assert {entry.path.split("/")[0] for entry in lists.splits["train"]} == {"wave"}
    assert {entry.path.split("/")[0] for entry in lists.splits["test"]} == {"cartwheel"}


def test_folders_without_videos_are_told(tmp_path):
    (tmp_path / "classInd.txt").write_text("1 Archery\n")
    for name in ("trainlist01", "testlist01"):
        (tmp_path / f"{name}.txt").write_text("Archery/v_Archery_g01_c01.avi\n")
    copies = Copies(tmp_path, tmp_path)
    with pytest.raises(AdvvidError, match="give the folder of the class folders"):
        copies.overrides("ucf101", tmp_path / "lists")
    assert copies.overrides("hmdb51", tmp_path / "lists") is None
    with pytest.raises(AdvvidError, match=r"/nowhere has no classInd\.txt: give UCF101=<folder of classes>,<folder of"):
        Copies(tmp_path, Path("/nowhere")).classes()


def test_the_check_asks_for_data_and_knows_the_papers(monkeypatch, capsys):
    monkeypatch.delenv("ADVVID_REALDATA", raising=False)
    assert main(["check"]) == 1
    assert "make check-papers UCF101=<folder of classes>,<folder of lists>" in capsys.readouterr().err
    assert main(["check", "kinfoo", "--ucf101", "/nowhere"]) == 1
    assert "there is no paper 'kinfoo': choose from aart, deepsava, jia, kinfu, lo" in capsys.readouterr().err


@needs_clips
def test_the_check_reads_a_copy_wherever_it_is(monkeypatch, capsys):
    monkeypatch.setattr(check, "compose_all", lambda scale, papers: iter(()))
    monkeypatch.setattr(check, "trials", lambda papers: [])
    assert main(["check", "kinfu", "--ucf101", f"{REAL}/ucf101,{REAL}/ucf101_splits"]) == 0
    said = capsys.readouterr().out
    assert "ok: ucf101: 101 classes" in said
    assert "hmdb51" not in said


def test_every_kind_of_training_is_tried_after_what_it_begins_with():
    tried = check.trials(("jia", "kinfu"))
    names = [trial.run for trial in tried]
    assert names == ["cnn_lstm", "c3d", "none", "at_8_optimal", "aat", "cat", "ape_gan", "gat", "aat_types"]
    assert studies()["kinfu"].runs["ape_gan"].needs("full") == ["none"]
    assert tried[3].kind == "ResNet3D-resnext-101 16 x 112 x 112, AT (PGD)"


@pytest.mark.slow
@pytest.mark.parametrize("paper", ["kinfu", "deepsava", "aart", "jia", "lo"])
@pytest.mark.parametrize("scale", SCALES)
def test_every_training_and_evaluation_composes(scale, paper):
    assert list(check.compose_all(scale, (paper,))) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs_clips
def test_the_papers_network_trains_two_steps_and_is_scored_at_full_scale(tmp_path):
    (plain,) = [trial for trial in check.trials(("kinfu",)) if trial.run == "none"]
    assert check.attempt(plain, Copies.below(Path(REAL)), tmp_path) == ""


@pytest.mark.slow
def test_a_data_set_without_clips_is_tried_on_embedded_data_of_its_shape(tmp_path):
    for trial in check.trials(("aart",)):
        assert check.attempt(trial, Copies(Path("/nowhere"), Path("/nowhere")), tmp_path) == ""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_table_is_made_from_the_first_to_the_last_step(tmp_path):
    plan, target = find_target("lo-multav")
    small = [
        "schedule.epochs=1",
        "dataset.limit_train=32",
        "dataset.limit_val=10",
        "dataset.limit_test=4",
        "model.width=0.25",
    ]
    runner = Runner(tmp_path, "demo", {"": small, "ucf101": ["dataset.root=/nowhere"]}, threads=1)
    table = make_table(runner, plan, target, "make lo-multav SCALE=demo")
    assert table.counted == (6, 6), table.problems
    before = {path: path.stat().st_mtime for path in tmp_path.rglob("done.json")}
    assert len(before) == 2
    assert make_table(runner, plan, target, "").rows == table.rows
    assert {path: path.stat().st_mtime for path in tmp_path.rglob("done.json")} == before

import os
from pathlib import Path

import pytest

from advvid.papers import check
from advvid.papers.__main__ import main
from advvid.papers.plan import SCALES, find_target
from advvid.papers.tables import counted, make_table
from advvid.papers.work import Workbench

REAL = os.environ.get("ADVVID_REALDATA")
needs_clips = pytest.mark.skipif(not REAL, reason="ADVVID_REALDATA names no folder of real clips and official lists")


@needs_clips
def test_the_official_lists_name_all_classes():
    assert check.class_counts(check.Copies.below(Path(REAL))) == {"ucf101": 101, "hmdb51": 51}


def test_the_check_asks_for_data_and_knows_the_papers(monkeypatch, capsys):
    monkeypatch.delenv("ADVVID_REALDATA", raising=False)
    assert main(["check"]) == 1
    assert "make check-papers UCF101=<folder of classes>,<folder of lists>" in capsys.readouterr().err
    assert main(["check", "kinfoo", "--ucf101", "/nowhere"]) == 1
    assert "there is no paper 'kinfoo': choose from aart, deepsava, jia, kinfu, lo" in capsys.readouterr().err


@needs_clips
def test_the_check_reads_a_copy_wherever_it_is(monkeypatch, capsys):
    monkeypatch.setattr(check, "compose_all", lambda scale, papers: iter(()))
    monkeypatch.setattr(check, "networks", lambda papers: {})
    assert main(["check", "kinfu", "--ucf101", f"{REAL}/ucf101,{REAL}/ucf101_splits"]) == 0
    said = capsys.readouterr().out
    assert "ok: ucf101: 101 classes" in said
    assert "hmdb51" not in said


@pytest.mark.slow
@pytest.mark.parametrize("paper", ["kinfu", "deepsava", "aart", "jia", "lo"])
@pytest.mark.parametrize("scale", SCALES)
def test_every_training_and_evaluation_composes(scale, paper):
    assert list(check.compose_all(scale, (paper,))) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@needs_clips
def test_the_papers_network_trains_two_steps_and_is_scored_at_full_scale(tmp_path):
    tried = check.networks(("kinfu",))
    assert list(tried) == ["ResNet3D resnext-101 16 x 112 x 112"]
    (words,) = tried.values()
    assert check.try_network(words, check.Copies.below(Path(REAL)), tmp_path) == ""


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
    bench = Workbench(tmp_path, "demo", {"": small, "ucf101": ["dataset.root=/nowhere"]}, threads=1)
    table = make_table(bench, plan, target, "make lo-multav SCALE=demo")
    assert counted(table) == (6, 6), table["problems"]
    before = {path: path.stat().st_mtime for path in tmp_path.rglob("done.json")}
    assert len(before) == 2
    assert make_table(bench, plan, target, "")["rows"] == table["rows"]
    assert {path: path.stat().st_mtime for path in tmp_path.rglob("done.json")} == before

"""dataset=folder: videos of any ending in class folders, split by group or as they lie."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from advvid.core.errors import AdvvidError
from advvid.data.class_folders import ClassFolders
from advvid.data.content import with_version
from advvid.runs.found_runs import find_runs

REAL = Path(os.environ.get("ADVVID_REALDATA", "/nowhere"))
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here: set ADVVID_REALDATA")
SMALL = {"frames": 4, "size": 32, "workers": 0}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "cache"))


def put(film, root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(film, root / name)
    return root


def ids(data, name):
    return set(data.split(name).ids)


def test_videos_of_any_ending_are_found_and_other_files_passed_over(film, tmp_path):
    root = put(
        film,
        tmp_path / "v",
        *[f"{kind}/{i}.{end}" for kind in ("b", "a") for i, end in enumerate(("MP4", "mkv", "avi"))],
    )
    put(film, root, "a/deep/er/x.webm", "b/.hidden.avi", ".git/x.avi")
    (root / "a" / "notes.txt").write_text("none of it")
    (root / "readme").mkdir()
    (root / "readme" / "x.md").write_text("no class")
    (root / "a" / "deep" / "loop").symlink_to(root / "a")
    data = ClassFolders(root=str(root), **SMALL)
    data.prepare()
    assert data.classes == ["a", "b"]
    everything = [ids(data, name) for name in ("train", "val", "test")]
    assert set.union(*everything) == {"a/0", "a/1", "a/2", "a/deep/er/x", "b/0", "b/1", "b/2"}
    assert sum(map(len, everything)) == 7


@real
def test_groups_stay_whole_and_the_seed_decides():
    how = {"root": str(REAL / "weizmann"), "group_pattern": r"_p(\d+)_", **SMALL}
    data, again, other = ClassFolders(**how), ClassFolders(**how), ClassFolders(**how, seed=1)
    people = [{name.split("_p")[1][:2] for name in data.split(split).ids} for split in ("train", "val", "test")]
    assert len(set.union(*people)) == sum(map(len, people))
    assert all(people)
    assert data.split("test").ids == again.split("test").ids != other.split("test").ids
    assert len(set(data.split("test").targets)) == 4


def test_folders_of_splits_are_taken_as_they_are(film, tmp_path):
    root = put(
        film, tmp_path, "Train/a/1.avi", "Train/b/2.avi", "validation/a/3.avi", "validation/b/3.avi", "test/b/4.avi"
    )
    data = ClassFolders(root=str(root), **SMALL)
    assert ids(data, "train") == {"Train/a/1", "Train/b/2"}
    assert ids(data, "val") == {"validation/a/3", "validation/b/3"}
    assert (ids(data, "test"), data.split("test").targets) == ({"test/b/4"}, [1])
    shutil.rmtree(root / "test")
    data = ClassFolders(root=str(root), **SMALL)
    with pytest.raises(AdvvidError, match=r"put videos into a folder test.*score evaluation.split=val"):
        data.split("test")


def test_a_folder_of_tests_alone_is_scored_as_a_whole(film, tmp_path):
    root = put(film, tmp_path, *[f"test/{kind}/{i}.avi" for kind in "ab" for i in range(2)])
    data = ClassFolders(root=str(root), **SMALL)
    assert (data.split("test").targets, data.classes) == ([0, 0, 1, 1], ["a", "b"])
    with pytest.raises(AdvvidError, match="no readable video is left in the train split"):
        data.split("train")


def test_validation_is_cut_from_training_where_it_has_no_folder(film, tmp_path):
    root = put(
        film, tmp_path, *[f"train/{kind}/{i}.avi" for kind in "ab" for i in range(5)], "test/a/x.avi", "test/b/y.avi"
    )
    data = ClassFolders(root=str(root), val_fraction=0.4, **SMALL)
    assert [len(ids(data, name)) for name in ("train", "val", "test")] == [6, 4, 2]


def test_mistakes_are_one_sentence(film, tmp_path):
    (tmp_path / "none").mkdir()
    for given, words in (
        (None, "needs dataset.root"),
        (tmp_path / "gone", "is not a folder"),
        (tmp_path / "none", "and has none"),
        (put(film, tmp_path / "one", "a/1.avi"), "and has only a"),
        (
            put(film, tmp_path / "case", "Walk/1.avi", "walk/1.avi"),
            "the class folders Walk and walk .* differ only in case",
        ),
    ):
        with pytest.raises(AdvvidError, match=words):
            ClassFolders(root=None if given is None else str(given), **SMALL).prepare()
    for options, words in (
        ({"splits": "x"}, "has no lists"),
        ({"name": "a/b"}, "cannot begin a folder's name"),
        ({"test_fraction": 1.0}, "test_fraction=1.0 is not possible"),
        ({"group_pattern": "("}, "no regular expression"),
    ):
        with pytest.raises(AdvvidError, match=words):
            ClassFolders(root=str(tmp_path), **SMALL, **options)


@real
@pytest.mark.slow
def test_a_folder_from_the_command_line_to_a_table_and_an_attacked_file(tmp_path):
    def go(*words):
        command = [sys.executable, "-m", "advvid.train", "tracker=none", "runtime=cpu", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    small = ["model.width=0.25", "schedule.epochs=1", "schedule.batch_size=8", "suite=own", "attack.steps=1"]
    data = [
        "dataset=folder",
        f"dataset.root={REAL / 'bed_fall'}",
        "dataset.name=falls",
        "dataset.frames=4",
        "dataset.size=32",
    ]
    limits = ["dataset.limit_train=8", "dataset.limit_val=4", "dataset.limit_test=4", "dataset.workers=0"]
    said = go(*small, *data, *limits, "hydra.run.dir=run")
    assert "Robustness of falls_none" in said
    go("mode=eval", "checkpoint=run", "hydra.run.dir=eval", "suite=own")
    table = json.loads((tmp_path / "eval" / "robustness.json").read_text())
    assert table["read_by"] == {with_version("decord"): 4}
    assert find_runs([tmp_path / "eval"])[0].choices["dataset"] == "falls"
    go(
        "mode=attack",
        "checkpoint=run",
        f"files={REAL / 'ucf101/Basketball/v_Basketball_g01_c01.avi'}",
        "hydra.run.dir=attack",
    )
    assert (tmp_path / "attack" / "attack.json").is_file()

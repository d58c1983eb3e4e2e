"""What lists and folders of real data have: found before a run starts, in one sentence, or stated in the table."""

import shutil

import pytest

from advvid.core.errors import AdvvidError
from advvid.data.class_folders import ClassFolders
from advvid.data.leaks import findings
from advvid.data.lists import Entry, read_ucf101
from advvid.data.video_folder import VideoFolder
from advvid.evaluation.check_rules import RULES

SMALL = {"frames": 4, "size": 32, "workers": 0}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "cache"))


def write(root, classes, train, test, film=None):
    root.mkdir(parents=True, exist_ok=True)
    for name, lines in (("classInd", classes), ("trainlist01", train), ("testlist01", test)):
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for line in (*train, *test) if film is not None else ():
        path = root / line.rpartition(" ")[0] if line.rpartition(" ")[2].isdecimal() else root / line
        path.parent.mkdir(exist_ok=True)
        shutil.copy(film, path)
    return root


@pytest.mark.parametrize(
    ("classes", "train", "names"),
    [
        (["2 B", "1 A"], ["A/x.avi 1", "B/x.avi 2"], ["A", "B"]),  # any order
        (["0 A", "1 B"], ["A/x.avi 0", "B/x.avi 1"], ["A", "B"]),  # from 0
        (["101 B", "17 A"], ["A/x.avi 17", "B/x.avi 101"], ["A", "B"]),  # some of the official numbers
        (["B", "A"], ["A/x.avi", "B/x.avi"], ["B", "A"]),  # none at all
        (["B", "A"], ["A/x.avi 1", "B/x.avi 0"], ["B", "A"]),  # none, and labels from 0
        (["B", "A"], ["A/x.avi 2", "B/x.avi 1"], ["B", "A"]),  # none, and labels from 1
        (["1 riding a bike", "2 yoga"], ["riding a bike/a b.avi 1", "yoga/x.avi 2"], ["riding a bike", "yoga"]),
        (["\ufeff1 A", "2 B"], ["\ufeffA/x.avi 1", "B/x.avi 2"], ["A", "B"]),  # what some editors put in front
    ],
)
def test_the_numbers_of_the_classes_are_read(tmp_path, classes, train, names):
    lists = read_ucf101(write(tmp_path, classes, train, ["A/t.avi" if "A" in names else "yoga/t.avi"]), 1)
    assert lists.classes == names
    for entry, line in zip(lists.splits["train"], train, strict=True):
        assert names[entry.label] == line.lstrip("\ufeff").split("/")[0]


@pytest.mark.parametrize(
    ("classes", "line", "words"),
    [
        (["0 A", "1 B"], "A/x.avi 1", r"gives 'A/x.avi' the label 1, but classInd.txt says 0 for A"),
        (["17 A", "101 B"], "B/x.avi 2", r"the label 2, but classInd.txt says 101 for B"),
        (["A", "B"], "B/x.avi 5", r"the label 5, but classInd.txt has B in place 2, counted from 1"),
        (["1 Archery", "2 B"], "archery/x.avi 1", r"it has Archery, which differs only in case"),
    ],
)
def test_a_contradiction_quotes_what_stands_in_the_file(tmp_path, classes, line, words):
    with pytest.raises(AdvvidError, match=words):
        read_ucf101(write(tmp_path, classes, [line], ["A/t.avi"]), 1)


def test_a_video_in_two_splits_is_refused_or_stated(tmp_path, film):
    root = write(tmp_path, ["1 A", "2 B"], ["A/1.avi 1", "B/1.avi 2", "B/2.avi 2"], ["A/1.mp4", "B/3.avi"], film)
    with pytest.raises(
        AdvvidError, match=r"1 of the 2 videos for test are also in train, such as A/1: .*allow_overlap=true"
    ):
        VideoFolder(root=str(root), **SMALL).prepare()
    data = VideoFolder(root=str(root), allow_overlap=True, **SMALL)
    data.prepare()
    assert data.findings == {"overlap": "1 of the 2 videos for test are also in train, such as A/1"}
    assert set(data.findings) <= set(RULES)


def test_parts_of_one_video_overlap_where_they_share_a_moment():
    train = [Entry("x.mp4", 0, 0, 5), Entry("y.mp4", 0)]
    apart, meeting, whole = (
        findings({"train": train, "test": [e]}, ["a"])
        for e in (Entry("x.mp4", 0, 5, 9), Entry("x.mp4", 0, 4.5, None), Entry("y.mp4", 0, 1, 2))
    )
    assert apart == {}
    assert "also in train, such as x@4.5-" in meeting["overlap"]
    assert "also in train, such as y@1-2" in whole["overlap"]


def test_a_class_that_nothing_is_trained_on_is_stated(tmp_path, film):
    root = write(tmp_path, ["1 A", "2 B", "3 C"], ["A/1.avi 1", "A/2.avi 1"], ["A/3.avi", "B/1.avi"], film)
    data = VideoFolder(root=str(root), **SMALL)
    data.prepare()
    assert data.findings == {"untrained_class": "1 of the classes have videos for testing and none for training: B"}
    assert len(data.classes) == 3


def test_one_name_for_two_videos_of_a_folder_is_refused(tmp_path, film):
    for name in ("a/1.avi", "a/1.mp4", "b/1.avi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(film, tmp_path / name)
    with pytest.raises(
        AdvvidError, match=r"has 'a/1' as 'a/1.avi' and 'a/1.mp4', which have one name in tables: rename one"
    ):
        ClassFolders(root=str(tmp_path), **SMALL).prepare()


@pytest.mark.parametrize(
    ("on_disk", "words"),
    [
        ("A/1.AVI", r"A/1\.avi \(missing, but there is A/1\.AVI, which differs only in case\)"),
        ("a/1.avi", r"A/1\.avi \(missing, but there is the folder a, which differs only in case\)"),
    ],
)
def test_names_that_differ_only_in_case_are_told(tmp_path, film, on_disk, words):
    root = write(tmp_path, ["1 A", "2 B"], ["A/1.avi 1", "B/1.avi 2"], ["B/2.avi"], film)
    shutil.rmtree(root / "A")
    (root / on_disk).parent.mkdir()
    shutil.copy(film, root / on_disk)
    with pytest.raises(AdvvidError, match=words):
        VideoFolder(root=str(root), **SMALL).prepare()


def test_a_root_whose_class_folders_all_differ_in_case_is_told(tmp_path, film):
    root = write(tmp_path, ["1 Walk", "2 Run"], ["walk/1.avi", "run/1.avi"], ["run/2.avi"], film)
    write(root, ["1 Walk", "2 Run"], ["Walk/1.avi", "Run/1.avi"], ["Run/2.avi"])
    with pytest.raises(
        AdvvidError, match=r"no folder named after a class \(such as Walk; it has walk, which differs only in case\)"
    ):
        VideoFolder(root=str(root), **SMALL)


def test_one_name_in_the_folders_of_two_splits_is_one_video():
    splits = {"train": [Entry("train/A/1.avi", 0)], "test": [Entry("test/A/1.mp4", 0), Entry("test/A/2.avi", 0)]}
    assert "1 of the 2 videos for test are also in train" in findings(splits, ["A"])["overlap"]
    splits["test"] = splits["test"][1:]
    assert findings(splits, ["A"]) == {}

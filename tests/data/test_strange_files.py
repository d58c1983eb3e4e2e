"""Lists, links, archives and records as nobody should write them: one sentence each, and nothing is read or written outside."""

import os
import stat
import zipfile

import numpy as np
import pytest

from advvid.core.errors import AdvvidError
from advvid.data import tfrecord
from advvid.data.archives import _refuse_odd, hmdb_names, ucf_names, unpack
from advvid.data.encode import write_video
from advvid.data.feature_index import index
from advvid.data.lists import read_hmdb51, read_ucf101
from advvid.data.prepare import UCF101, prepare
from advvid.data.video_folder import VideoFolder

OUTSIDE = [
    "A/../../secret.avi",
    "/etc/secret.avi",
    "A/./x.avi",
    "A//x.avi",
    "../A/x.avi",
    "A\\..\\..\\x.avi",
    "A/\0.avi",
]


def lists(folder, train=("A/a.avi 1",), test=("A/t.avi",), classes=("1 A", "2 B")):
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("classInd", classes), ("trainlist01", train), ("testlist01", test)):
        (folder / f"{name}.txt").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_list_names_nothing_outside_its_folder(tmp_path, path):
    with pytest.raises(AdvvidError, match="mend the list"):
        read_ucf101(lists(tmp_path, train=[f"{path} 1"]), 1)
    with pytest.raises(AdvvidError, match="original lists"):
        ucf_names(tmp_path)
    (tmp_path / "A_test_split1.txt").write_text(
        f"{path.removeprefix('A/')} 1\n" if path.startswith("A/..") else f"{path} 1\n"
    )
    with pytest.raises(AdvvidError, match="mend the list"):
        read_hmdb51(tmp_path, 1)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["1"], "not a number and a class"),
        (["1 .."], "no name of a folder"),
        (["1 A", "2 A"], "stands there twice"),
        (["1 A", "1 B"], "stands there twice"),
        (["1 a/b"], "no name of a folder"),
        (["1 ../x"], "no name of a folder"),
        (["1 A", "B"], "'B', which is not a number and a class"),
        (["A", "A"], "stands there twice"),
    ],
)
def test_classes_are_names(tmp_path, classes, words):
    with pytest.raises(AdvvidError, match=words):
        read_ucf101(lists(tmp_path, classes=classes), 1)


def test_a_video_stands_in_a_list_once(tmp_path):
    with pytest.raises(AdvvidError, match=r"trainlist01.txt has 'A/a' as 'A/a.avi' and 'A/a.mp4'"):
        read_ucf101(lists(tmp_path, train=["A/a.avi 1", "A/a.mp4 1"]), 1)
    with pytest.raises(AdvvidError, match=r"trainlist01.txt has 'A/a' twice: mend the list"):
        read_ucf101(lists(tmp_path, train=["A/a.avi 1", "A/a.avi 1"]), 1)
    (tmp_path / "A_test_split1.txt").write_text("x.avi 1\nx.avi 1\n")
    with pytest.raises(AdvvidError, match="'A/x' twice"):
        read_hmdb51(tmp_path, 1)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00" * 9, b"A" * 9000, b"A/a.avi " + b"9" * 4500, "A/a.avi ²".encode()])
def test_what_is_no_list_is_named(tmp_path, content):
    lists(tmp_path)
    (tmp_path / "trainlist01.txt").write_bytes(content)
    with pytest.raises(AdvvidError, match=r"trainlist01\.txt"):
        read_ucf101(tmp_path, 1)
    (tmp_path / "trainlist01.txt").unlink()
    os.mkfifo(tmp_path / "trainlist01.txt")  # which would be waited for
    with pytest.raises(AdvvidError, match="is no file"):
        read_ucf101(tmp_path, 1)


@pytest.fixture
def linked(tmp_path, monkeypatch):
    """Videos of which some are links that lead nowhere, to themselves, to a pipe or to a folder."""
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "videos"
    (root / "A").mkdir(parents=True)
    for name in ("ok", "t"):
        write_video(root / "A" / f"{name}.avi", np.zeros((8, 32, 32, 3), np.uint8), 25)
    (root / "A" / "nowhere.avi").symlink_to("gone.avi")
    (root / "A" / "loop.avi").symlink_to("loop.avi")
    (root / "A" / "good.avi").symlink_to("ok.avi")
    os.mkfifo(root / "A" / "pipe.avi")
    (root / "A" / "folder.avi").mkdir()
    (root / "B").symlink_to("B")
    train = [f"A/{name}.avi 1" for name in ("ok", "nowhere", "loop", "good", "pipe", "folder")] + ["B/x.avi 2"]
    return {"root": str(root), "splits": str(lists(tmp_path / "lists", train, ["A/t.avi"])), "frames": 4, "size": 32}


def test_links_that_lead_nowhere_are_named_or_skipped(linked):
    with pytest.raises(AdvvidError) as caught:
        VideoFolder(**linked, val_fraction=0.01).prepare()
    for said in (
        "nowhere.avi (a link that leads nowhere)",
        "loop.avi (a link that leads back to itself)",
        "pipe.avi (no file)",
        "folder.avi (no file)",
        "B/x.avi (a link that leads back to itself)",
    ):
        assert said in str(caught.value)
    data = VideoFolder(**linked, on_error="skip", val_fraction=0.01)
    data.prepare()
    assert sorted([*data.split("train").ids, *data.split("val").ids]) == ["A/good", "A/ok"]
    assert len([*data.missing["train"], *data.missing["val"]]) == 5


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name.replace("__", "/"), content)
    return path


@pytest.mark.parametrize("where", ["UCF-101", "UCF-101/A", "UCF-101/A/x.avi", ".a.unpacking"])
def test_nothing_is_unpacked_through_a_link(tmp_path, where):
    target, outside = tmp_path / "target", tmp_path / "outside"
    (target / where).parent.mkdir(parents=True)
    outside.mkdir()
    (target / where).symlink_to(outside if "." not in where[1:] else outside / "x")
    source = archive(tmp_path / "a.zip", **{"UCF-101__A__x.avi": "video"})
    with pytest.raises(AdvvidError, match=r"is a link to .* nothing is written through links"):
        unpack(source, target)
    assert list(outside.iterdir()) == []
    assert (target / where).is_symlink()


@pytest.mark.parametrize("where", [".UCF-101.unpacking", "UCF-101", "UCF-101_64px_q3", "UCF-101_64px_q3/A"])
def test_prepare_writes_through_no_link(tmp_path, where):
    archives, outside = tmp_path / "archives", tmp_path / "outside"
    archives.mkdir()
    outside.mkdir()
    write_video(tmp_path / "x.avi", np.zeros((8, 96, 96, 3), np.uint8), 25)
    name = UCF101.videos_archive.replace(".rar", ".zip")
    (archives / UCF101.videos_archive).write_bytes(b"")
    video = {"UCF-101__A__x.avi": (tmp_path / "x.avi").read_bytes()}
    archive(archives / name, **video)
    archive(
        archives / UCF101.lists_archive,
        **{"ucfTrainTestlist__trainlist01.txt": "A/x.avi 1", "ucfTrainTestlist__testlist01.txt": "A/x.avi"},
    )
    out = tmp_path / "out"
    if where.startswith("UCF-101_"):
        unpack(archives / name, out)
    (out / where).parent.mkdir(parents=True, exist_ok=True)
    (out / where).symlink_to(outside / "new" if where != "UCF-101_64px_q3/A" else outside)
    with pytest.raises(AdvvidError, match="is a link to"):
        prepare(UCF101, archives, out, short_side=64)
    assert list(outside.iterdir()) == []


def test_an_archive_that_unfolds_without_measure_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as made, made.open("x.avi", "w") as file:
        for _ in range(300):
            file.write(bytes(1_000_000))
    with pytest.raises(AdvvidError, match=r"unpacks to 0\.3 GB"):
        unpack(tmp_path / "bomb.zip", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_pipes_and_hard_links_of_an_archive_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AdvvidError, match="'pipe', which is no file"):
        _refuse_odd(tmp_path / "a.rar", tmp_path)
    (tmp_path / "pipe").unlink()
    (tmp_path / "one").write_text("x")
    os.link(tmp_path / "one", tmp_path / "two")
    assert not stat.S_ISLNK((tmp_path / "two").lstat().st_mode)
    with pytest.raises(AdvvidError, match="holds the link"):
        _refuse_odd(tmp_path / "a.rar", tmp_path)


def test_hmdbs_lists_name_nothing_outside(tmp_path):
    (tmp_path / "A_test_split1.txt").write_text("../../x.avi 1\n")
    with pytest.raises(AdvvidError, match="leads out of the folder"):
        hmdb_names(tmp_path)


def record(name):
    return tfrecord.sequence_example({"id": name, "labels": [0]}, {})


def test_a_video_of_two_records_is_named_with_its_files(tmp_path):
    tfrecord.write(tmp_path / "train00.tfrecord", [record(b"a"), record(b"b")])
    tfrecord.write(tmp_path / "train01.tfrecord", [record(b"c"), record(b"b")])
    with pytest.raises(
        AdvvidError, match=r"the video b stands twice, in .*train00\.tfrecord and in .*train01\.tfrecord"
    ):
        index(sorted(tmp_path.glob("*.tfrecord")), tmp_path / "index")


def test_record_files_that_are_links_to_nothing(tmp_path):
    (tmp_path / "train00.tfrecord").symlink_to("gone")
    with pytest.raises(AdvvidError, match="leads nowhere"):
        index([tmp_path / "train00.tfrecord"], tmp_path / "index")

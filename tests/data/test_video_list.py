"""dataset=csv: the lists that people have, cut to parts, and what is wrong in them."""

import shutil

import numpy as np
import pytest
import torch

from advvid.core.errors import AdvvidError
from advvid.data.decoders import FrameVideo
from advvid.data.encode import write_video
from advvid.data.list_rows import lists_in, read_rows
from advvid.data.video_list import VideoList

SMALL = {"frames": 4, "size": 32, "workers": 0}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Videos of 40 frames at 10 per second; frame i has the grey value 6 i."""
    root = tmp_path_factory.mktemp("videos")
    frames = np.repeat(np.arange(0, 240, 6, dtype=np.uint8), 32 * 32 * 3).reshape(40, 32, 32, 3)
    write_video(root / "0.mkv", frames, 10, codec="ffv1")
    for i in range(1, 8):
        shutil.copy(root / "0.mkv", root / f"{i}.mkv")
    return root


def listed(tmp_path, text, name="list.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_names_are_classes_and_splits_are_taken(videos, tmp_path):
    text = (
        "\ufeffpath,label,split\r\n0.mkv,run,train\r\n\r\n1.mkv,jump,training\r\n2.mkv,jump,test\r\n3.mkv,run,val\r\n"
    )
    data = VideoList(splits=listed(tmp_path, text), root=str(videos), **SMALL)
    data.prepare()
    assert data.classes == ["jump", "run"]
    assert [data.split(name).ids for name in ("train", "val", "test")] == [["0", "1"], ["3"], ["2"]]
    assert data.split("train").targets == [1, 0]


@pytest.mark.parametrize("form", ["{} {}", "{}\t{}", "{},{}", "{}, {}"])
def test_lists_without_a_header_hold_numbers(videos, tmp_path, form):
    rows = [form.format(f"{i}.mkv", i % 2 * 2) for i in range(8)]
    data = VideoList(splits=listed(tmp_path, "\n".join(rows), "train_list.txt"), root=str(videos), **SMALL)
    data.prepare()
    assert data.classes == ["0", "1", "2"]
    names = listed(tmp_path, "sit\nstand\nwalk\n", "names.txt")
    data = VideoList(splits=data.list.as_posix(), root=str(videos), class_names=names, **SMALL)
    data.prepare()
    assert data.classes == ["sit", "stand", "walk"]
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [4, 2, 2]


def test_parts_are_cut_out_and_scored_by_themselves(videos, tmp_path):
    text = "path,label,start,end,split\n0.mkv,a,1,2,test\n0.mkv,b,2.5,,test\n1.mkv,a,0,1,train\n2.mkv,b,,,train\n3.mkv,a,,1,val\n"
    data = VideoList(splits=listed(tmp_path, text), root=str(videos), **SMALL, cache=str(tmp_path / "frames"))
    data.prepare()
    test = data.split("test")
    assert test.ids == ["0@1-2", "0@2.5-"]
    greys = [(clip[0, :, 0, 0].int() / 6).round().int().tolist() for clip, _, _ in (test[0], test[1])]
    assert greys == [[13, 14, 15, 16], [31, 32, 33, 34]]  # the middle of frames 10 to 20, and of 25 to 40
    assert torch.equal(test[0][0], data.split("test")[0][0])  # now from the cache
    assert len(set(test.digests())) == 2  # one file, two contents
    for draw in range(20):
        clip = data.split("train")[0, draw][0]
        assert clip.max() < 6 * 10  # a random clip stays inside its part
    assert FrameVideo(videos / "0.mkv", start=3.8, end=9).fetch([0, 1, 2])[0, :, 0, 0].tolist() == [228, 234, 228]


def test_a_part_behind_the_end_is_named_before_anything_starts(videos, tmp_path):
    text = "path,label,start,end,split\n0.mkv,a,5,6,test\n1.mkv,b,0,1,train\n2.mkv,a,0,1,train\n"
    with pytest.raises(
        AdvvidError, match=r"0\.mkv@5-6 \(undecodable: it has no frame from 5 s to 6 s: it is 4 s long\)"
    ):
        VideoList(splits=listed(tmp_path, text), root=str(videos), **SMALL).prepare()


def test_kinetics_videos_are_found_under_their_usual_names(videos, tmp_path):
    root = tmp_path / "k400"
    (root / "train" / "riding a bike").mkdir(parents=True)
    shutil.copy(videos / "0.mkv", root / "train" / "riding a bike" / "abc-_DEF123_000010_000020.mkv")
    shutil.copy(videos / "0.mkv", root / "xyz.mkv")
    header = "label,youtube_id,time_start,time_end,split\n"
    lists = tmp_path / "lists"
    lists.mkdir()
    listed(lists, f"{header}riding a bike,abc-_DEF123,10,20,train\nyoga,xyz,1,3,train\n", "train.csv")
    listed(lists, f"{header}yoga,gone,5,15,validate\n", "validate.csv")
    data = VideoList(splits=str(lists), root=str(root), on_error="skip", **SMALL)
    data.prepare()
    assert data.classes == ["riding a bike", "yoga"]
    assert data.split("train").ids == ["train/riding a bike/abc-_DEF123_000010_000020", "xyz@1-3"]
    assert data.missing["val"] == ["yoga/gone_000005_000015"]
    with pytest.raises(AdvvidError, match=r"name videos for testing in the list, or score evaluation.split=val"):
        data.split("test")


def test_lists_of_a_folder_are_known_by_a_word_of_their_name(tmp_path):
    for name in (
        "kinetics400_train_list_videos.txt",
        "kinetics400_val_list_videos.txt",
        "constraints.txt",
        "readme.md",
    ):
        listed(tmp_path, "a.mp4 0\n", name)
    assert [(split, path.name.split("_")[1]) for split, path in lists_in(tmp_path)] == [
        ("train", "train"),
        ("val", "val"),
    ]
    listed(tmp_path, "a.mp4 0\n", "validation.csv")
    with pytest.raises(AdvvidError, match="two lists for the val split"):
        lists_in(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\n", "a header and no video"),
        ("path,label\n\n0.mkv,a\n1.mkv\n", r"line 4: '1.mkv' has 1 columns"),
        ("path,label,split\n0.mkv,a,dev\n", "line 2: the split 'dev' is not known"),
        ("path,label,start,end\n0.mkv,a,2,1\n", "does not lie behind its start"),
        ("path,label,start\n0.mkv,a,1:30\n", "line 2: start='1:30' is no time"),
        ("path,label,start\n0.mkv,a,-1\n", "is no time"),
        ("frames/video1 120 3\n", "line 1: 'frames/video1 120 3' is not a path"),
        ("path,label\n0.mkv,\n", "no video or no label"),
        ('path,label\n"0.mkv,a\n1.mkv,b\n', "line 2|quotation"),
    ],
)
def test_a_line_that_is_wrong_is_quoted_with_its_number(tmp_path, text, words):
    with pytest.raises(AdvvidError, match=words):
        list(read_rows(tmp_path / listed(tmp_path, text)))


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("path,label\n../x.mkv,a\n0.mkv,b\n", {}, "leads out of the folder"),
        ("path,label\n/etc/x.mkv,a\n0.mkv,b\n", {}, "does not lie below dataset.root"),
        ("path,label\n0.mkv,a\n", {}, "has the one class a"),
        ("path,label,split\n0.mkv,a,train\n1.mkv,b,\n", {}, "for some videos alone, not for 1: name it for all"),
        (
            "path,label\n0.mkv,3\n1.mkv,0\n",
            {"class_names": "two.txt"},
            "the label '3' is none of the 2 of dataset.class_names",
        ),
        ("path,label\n0.mkv,a\n1.mkv,b\n", {"root": "/nowhere"}, "dataset.root=/nowhere is not a folder"),
    ],
)
def test_mistakes_are_one_sentence(videos, tmp_path, text, options, words):
    listed(tmp_path, "x\ny\n", "two.txt")
    if "class_names" in options:
        options = {"class_names": str(tmp_path / options["class_names"])}
    with pytest.raises(AdvvidError, match=words):
        VideoList(**{"splits": listed(tmp_path, text), "root": str(videos), **SMALL, **options}).prepare()


def test_a_list_is_wanted():
    with pytest.raises(AdvvidError, match=r"needs dataset.splits=<list of the videos>, and dataset.root"):
        VideoList()


def test_absolute_paths_below_the_root_are_read(videos, tmp_path):
    rows = "\n".join(f"{videos}/{i}.mkv,{'ab'[i % 2]}" for i in range(8))
    data = VideoList(splits=listed(tmp_path, f"path,label\n{rows}\n"), root="/", **SMALL)
    data.prepare()
    assert str(data.videos / data.split("test").entries[0].path).startswith(str(videos))

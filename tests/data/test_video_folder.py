"""UCF101 and HMDB51: official lists, real clips, broken files, and what a user does wrong."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from advvid.core.errors import AdvvidError
from advvid.data.decoders import FrameVideo
from advvid.data.groups import cut_split, group_of
from advvid.data.lists import Entry, read_hmdb51, read_ucf101
from advvid.data.loader import eval_batches, train_batches
from advvid.data.scan import problem, scan
from advvid.data.video_folder import VideoFolder

REAL = Path(os.environ.get("ADVVID_REALDATA", "/nowhere"))
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here: set ADVVID_REALDATA")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "cache"))


def folder(**settings):
    return VideoFolder(
        **{"root": str(REAL / "weizmann"), "splits": str(REAL / "weizmann_splits"), "workers": 0, **settings}
    )


@real
def test_official_lists_are_read_to_the_last_video():
    ucf = read_ucf101(REAL / "ucf101_splits", 1)
    assert len(ucf.classes) == 101
    assert (len(ucf.splits["train"]), len(ucf.splits["test"])) == (9537, 3783)
    assert ucf.splits["test"][-1] == Entry("YoYo/v_YoYo_g07_c04.avi", 100)
    hmdb = read_hmdb51(REAL / "hmdb51_splits", 1)
    assert len(hmdb.classes) == 51
    assert (len(hmdb.splits["train"]), len(hmdb.splits["test"])) == (3570, 1530)


def test_a_last_line_without_its_end_and_crlf_count(tmp_path):
    (tmp_path / "classInd.txt").write_bytes(b"1 A\r\n2 B\r\n")
    (tmp_path / "trainlist01.txt").write_bytes(b"A/v_A_g01_c01.avi 1\r\n\r\nB/v_B_g01_c01.avi 2")
    (tmp_path / "testlist01.txt").write_bytes(b"A/v_A_g02_c01.avi\r\nB/v_B_g02_c01.avi")
    lists = read_ucf101(tmp_path, 1)
    assert [e.path for e in lists.splits["train"]] == ["A/v_A_g01_c01.avi", "B/v_B_g01_c01.avi"]
    assert [(e.id, e.label) for e in lists.splits["test"]] == [("A/v_A_g02_c01", 0), ("B/v_B_g02_c01", 1)]


@pytest.mark.parametrize(
    ("line", "words"), [("C/x.avi 3", "names no video of a class"), ("A/x.avi 2", "classInd.txt says 1")]
)
def test_a_line_that_contradicts_the_classes_is_named(tmp_path, line, words):
    (tmp_path / "classInd.txt").write_text("1 A\n2 B\n")
    (tmp_path / "trainlist01.txt").write_text(line)
    (tmp_path / "testlist01.txt").write_text("A/y.avi\n")
    with pytest.raises(AdvvidError, match=words):
        read_ucf101(tmp_path, 1)


def test_validation_is_cut_by_group():
    train = [
        Entry(f"{c}/v_{c}_g{g:02d}_c{i:02d}.avi", n) for n, c in enumerate("AB") for g in range(8, 26) for i in (1, 2)
    ]
    kept, val = cut_split(train, ["A", "B"], 0.1, seed=0, pattern=None)
    assert sorted(map(str, kept + val)) == sorted(map(str, train))
    groups = [{group_of(e, "AB"[e.label], None) for e in part} for part in (kept, val)]
    assert not groups[0] & groups[1]
    assert {e.label for e in val} == {0, 1}
    assert len(val) == 8
    assert cut_split(train, ["A", "B"], 0.1, 0, None)[1] == val
    assert cut_split(train, ["A", "B"], 0.1, 1, None)[1] != val


@pytest.mark.parametrize(
    ("stem", "name", "pattern", "group"),
    [
        ("v_YoYo_g25_c04", "YoYo", None, "YoYo/25"),
        ("TrumanShow_wave_f_nm_np1_fr_med_26", "wave", None, "TrumanShow"),
        ("bend_p03_m", "bend", r"_p(\d+)_", "03"),
        ("single", "x", None, "single"),
    ],
)
def test_groups(stem, name, pattern, group):
    assert group_of(Entry(f"{name}/{stem}.avi", 0), name, pattern) == group


@real
def test_a_small_real_set_loads(tmp_path):
    data = folder(group_pattern=r"_p(\d+)_", val_fraction=0.2)
    data.prepare()
    train, val, test = (data.split(name) for name in ("train", "val", "test"))
    assert (len(train) + len(val), len(test)) == (48, 24)
    people = [{i.split("_p")[1][:2] for i in split.ids} for split in (train, val, test)]
    assert not people[0] & people[1]
    assert not (people[0] | people[1]) & people[2]
    clip, label, name = test[0]
    assert (clip.dtype, clip.shape) == (torch.uint8, (3, 16, 112, 112))
    assert data.classes[label] == name.split("/")[0]
    seen = [i for batch in eval_batches(test, 7) for i in batch.ids]
    assert seen == test.ids


@real
def test_random_clips_are_functions_of_their_seed():
    data = folder(limit_train=8, limit_val=4, limit_test=4)
    train = data.split("train")
    state = torch.get_rng_state()
    assert torch.equal(train[0, 5][0], train[0, 5][0])
    assert not torch.equal(train[0, 5][0], train[0, 6][0])
    assert torch.equal(state, torch.get_rng_state())
    here, there = (next(iter(train_batches(train, 4, 0, 0, workers=w))) for w in (0, 2))
    assert here.ids == there.ids
    assert torch.equal(here.inputs, there.inputs)


@real
def test_views_are_spread_over_the_video():
    data = folder(test_clips=3, limit_test=4, limit_train=4, limit_val=4)
    clip, _, name = data.split("test")[0]
    assert clip.shape == (3, 48, 112, 112)
    video = FrameVideo(REAL / "weizmann" / f"{name}.avi")
    whole = video.fetch([0, video.frames - 16]).float().mean(dim=(0, 2, 3))
    ends = torch.stack([clip[:, 0], clip[:, 32]]).float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(ends, whole, rtol=0, atol=1.5)


@real
def test_decoders_agree_pixel_for_pixel():
    path = REAL / "ucf101" / "BaseballPitch" / "v_BaseballPitch_g01_c01.avi"
    fetched = [FrameVideo(path, d).fetch([0, 17, 90, 106]) for d in ("decord", "pyav")]
    assert torch.equal(*fetched)


@real
@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_promised_frames_that_are_not_there(decoder):
    """The container of this clip counts one frame more than it holds."""
    video = FrameVideo(REAL / "hmdb51/wave/TrumanShow_wave_f_nm_np1_fr_med_26.avi", decoder)
    assert video.fetch(range(40, 49)).shape[1] == 9


@real
def test_short_videos_start_again():
    video = FrameVideo(REAL / "bad" / "decord_unordered.mov")
    frames = video.fetch(range(10))
    assert torch.equal(frames[:, :4], frames[:, 4:8])


@real
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("decord_corrupted.mp4", "undecodable"),
        ("decord_unordered.mov", None),
        ("synthetic_empty.avi", "empty"),
        ("synthetic_text.avi", "undecodable"),
        ("synthetic_truncated_half.avi", "truncated: 49 of 107"),
        ("synthetic_truncated_header.avi", "undecodable"),
        ("synthetic_zeroed_middle.avi", "truncated: 71 of 107"),
        ("nothing.avi", "missing"),
    ],
)
def test_every_broken_file_is_told_from_a_sound_one(file, words):
    found = problem(REAL / "bad" / file, "decord")
    assert found is None if words is None else words in found


@pytest.fixture
def broken(tmp_path):
    """A small UCF101-like set of which one listed video is cut in half and one is missing."""
    root = tmp_path / "set"
    for name in ("bend", "jack"):
        (root / name).mkdir(parents=True)
        for file in sorted((REAL / "weizmann" / name).iterdir())[:6]:
            shutil.copy(file, root / name / file.name)
    files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.avi"))
    (root / "classInd.txt").write_text("1 bend\n2 jack\n")
    (root / "trainlist01.txt").write_text("".join(f"{f}\n" for f in files[::2]))
    (root / "testlist01.txt").write_text("".join(f"{f}\n" for f in [*files[1::2], "jack/gone.avi"]))
    half = root / files[1]
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    return root, files


@real
def test_bad_videos_are_named_or_skipped(broken):
    root, files = broken
    with pytest.raises(AdvvidError, match=r"2 of the 13 listed videos") as caught:
        VideoFolder(root=str(root)).prepare()
    assert files[1] in str(caught.value)
    assert "jack/gone.avi (missing)" in str(caught.value)
    data = VideoFolder(root=str(root), on_error="skip", workers=0)
    data.prepare()
    assert data.missing["test"] == [files[1][:-4], "jack/gone"]
    assert len(data.split("test")) == 5


@real
def test_the_second_scan_opens_nothing(broken, monkeypatch):
    root, files = broken
    first, _ = scan(root, [Entry(file, 0) for file in files], "decord")
    opened = []
    monkeypatch.setattr("advvid.data.scan.look", lambda path, *how: opened.append(path) or ("again", "decord"))
    scan(root, [Entry(file, 0) for file in files], "decord")
    assert [p.relative_to(root).as_posix() for p in opened] == list(first) == [files[1]]


@real
def test_missing_official_videos_are_counted():
    data = VideoFolder(root=str(REAL / "ucf101"), splits=str(REAL / "ucf101_splits"), on_error="skip")
    data.prepare()
    assert len(data.missing["test"]) == 3779
    assert len(data.split("test")) == 4
    with pytest.raises(AdvvidError, match="13314 of the 13320 listed videos"):
        VideoFolder(root=str(REAL / "ucf101"), splits=str(REAL / "ucf101_splits")).prepare()


@real
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"root": None}, "needs dataset.root"),
        ({"root": "/nowhere"}, "is not a folder: UCF101 comes from"),
        ({"splits": "/nowhere"}, "dataset.splits=/nowhere is not a folder"),
        ({"split": 4}, "split=4 is not possible"),
        ({"frames": 0}, "frames=0 is not possible"),
        ({"short_side": 50}, "smaller than dataset.size"),
        ({"on_error": "ignore"}, "on_error='ignore' is not known"),
        ({"decoder": "vlc"}, "decoder='vlc' is not known"),
        ({"layout": "hmdb51"}, "choose dataset=ucf101"),
        ({"root": str(REAL / "ucf101_splits")}, "no folder named after a class"),
        ({"group_pattern": "("}, "is no regular expression"),
        ({"scale": [0.5]}, "scale="),
    ],
)
def test_mistakes_are_answered_in_one_sentence(settings, words):
    with pytest.raises(AdvvidError, match=words):
        folder(**settings)

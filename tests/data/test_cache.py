"""Decoded videos on disk: the same clips bit for bit, whatever lies in the folder and whoever else fills it."""

import errno
import json
import logging
import multiprocessing
import os
import shutil
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from advvid.core.errors import AdvvidError
from advvid.data import auto_cache as auto_module
from advvid.data import cache as cache_module
from advvid.data.auto_cache import auto_cache
from advvid.data.cache import FrameCache
from advvid.data.clips import VideoClips
from advvid.data.coming import Coming
from advvid.data.cut import Cut
from advvid.data.encode import write_video
from advvid.data.lists import Entry
from advvid.data.loader import eval_batches, train_batches
from advvid.data.video_folder import VideoFolder

REAL = Path(os.environ.get("ADVVID_REALDATA", "/nowhere"))
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here: set ADVVID_REALDATA")

CUT = Cut(frames=6, stride=2, size=24, short_side=28, flip=0.5, scale=None, views=1, decoder="decord")


@pytest.fixture
def videos(tmp_path):
    """Four videos of moving noise, 20 to 50 frames of 40 x 56."""
    generator, paths = np.random.default_rng(0), []
    for n, length in enumerate((20, 30, 40, 50)):
        still = generator.integers(0, 256, (10, 14, 3)).repeat(4, axis=0).repeat(4, axis=1)
        paths.append(tmp_path / "videos" / f"v{n}.avi")
        paths[-1].parent.mkdir(exist_ok=True)
        frames = np.stack([np.roll(still, 3 * t, axis=1) for t in range(length)]).astype(np.uint8)
        write_video(paths[-1], frames, 25, codec="mpeg4", quality=3)
    return paths


def split(paths, cache=None, cut=CUT):
    return VideoClips(paths[0].parent, [Entry(p.name, n) for n, p in enumerate(paths)], cut, cache)


def kept(folder):
    return sorted(folder.glob("??/*.frames"))


def same(first, second, draws=(0, 1, 2)):
    keys = [*range(len(first)), *((i, d) for i in range(len(first)) for d in draws)]
    return all(torch.equal(first[key][0], second[key][0]) for key in keys)


def variant(**settings):
    return Cut(**{**CUT.__dict__, **settings})


@pytest.mark.parametrize(
    "settings",
    [{}, {"decoder": "pyav"}, {"scale": (0.3, 1.0)}, {"views": 3}, {"frames": 40}, {"short_side": 24, "stride": 1}],
)
def test_the_clips_are_the_same_bit_for_bit(videos, tmp_path, settings):
    cut = variant(**settings)
    cache = FrameCache(tmp_path / "cache", 1)
    assert same(split(videos, cut=cut), split(videos, cache, cut))  # while it fills
    assert len(kept(tmp_path / "cache")) == 8  # a clip and a whole video of each
    assert same(split(videos, cut=cut), split(videos, cache, cut), draws=(0, 7, 8))


@pytest.mark.parametrize(
    "settings", [{}, {"decoder": "pyav"}, {"views": 2, "stride": 3}, {"frames": 40}, {"stride": "spread"}]
)
def test_one_walk_over_a_video_serves_a_short_training(videos, tmp_path, monkeypatch, settings):
    """Clips of both epochs and the watched ones are the same bit for bit, and each video is opened once."""
    cut, coming = variant(**settings), Coming(seed=3, epochs=2, scored=2)
    opened = []
    monkeypatch.setattr(
        VideoClips, "_open", lambda self, entry, plain=VideoClips._open: opened.append(entry.path) or plain(self, entry)
    )
    cache = FrameCache(tmp_path / "cache", 1, whole=False)
    cached = VideoClips(videos[0].parent, split(videos).entries, cut, cache, coming=coming)

    def walk(clips):
        epochs = [batch for epoch in range(2) for batch in train_batches(clips, 2, seed=3, epoch=epoch)]
        return [b.inputs for b in [*epochs, *eval_batches(clips, 2, [0])]]

    found = walk(cached)
    assert sorted(opened) == sorted(path.name for path in videos)
    assert len(kept(tmp_path / "cache")) == 4 + 2
    plain = split(videos, cut=cut)
    assert all(torch.equal(a, b) for a, b in zip(found, walk(plain), strict=True))
    assert same(plain, cached)  # draws that were not to be foreseen
    assert len(kept(tmp_path / "cache")) == 4 + 4  # the other clips that are scored


@real
@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_real_files_give_the_same_clips(tmp_path, decoder):
    """B-frames packed two to a packet, promised frames that are not there, one key frame only, H.264."""
    files = [
        "hmdb51/wave/TrumanShow_wave_f_nm_np1_fr_med_26.avi",
        "ut_interaction/HandShaking/set1_17_3_0.avi",
        "ucf101/BabyCrawling/v_BabyCrawling_g03_c02.avi",
        "kinetics/arm_wrestling/mmaction2_demo.mp4",
        "bad/decord_unordered.mov",
    ]
    cut = Cut(16, 1, 112, 128, 0.5, None, 2, decoder)
    plain, cached = (VideoClips(REAL, [Entry(f, 0) for f in files], cut, c) for c in (None, FrameCache(tmp_path, 1)))
    draws = (0, 1) if decoder == "pyav" else range(6)
    assert same(plain, cached, draws)
    assert len(kept(tmp_path)) == 10
    assert same(plain, cached, draws)


@real
def test_a_video_that_breaks_off_gives_what_it_gives_without(tmp_path):
    """Its whole cannot be kept, but clips of its sound part are as good as ever."""

    def outcome(clips, draw):
        try:
            return clips[0, draw][0].numpy().tobytes()
        except AdvvidError as error:
            return str(error)

    cut = Cut(16, 1, 112, 112, 0.5, None, 1, "pyav")
    entries = [Entry("bad/synthetic_zeroed_middle.avi", 0)]
    plain, cached = (VideoClips(REAL, entries, cut, c) for c in (None, FrameCache(tmp_path, 1)))
    assert [outcome(plain, d) for d in range(8)] == [outcome(cached, d) for d in range(8)]


def test_loader_processes_fill_and_read_it(videos, tmp_path):
    plain, cached = split(videos), split(videos, FrameCache(tmp_path / "cache", 1))
    for epoch in range(2):
        pairs = zip(train_batches(plain, 2, 0, epoch), train_batches(cached, 2, 0, epoch, workers=2), strict=True)
        assert all(a.ids == b.ids and torch.equal(a.inputs, b.inputs) for a, b in pairs)
        pairs = zip(eval_batches(plain, 2), eval_batches(cached, 2, workers=2), strict=True)
        assert all(a.ids == b.ids and torch.equal(a.inputs, b.inputs) for a, b in pairs)
    assert len(kept(tmp_path / "cache")) == 8


def test_the_second_epoch_opens_no_video(videos, tmp_path, monkeypatch):
    clips = split(videos, FrameCache(tmp_path / "cache", 1))
    before = [clips[key][0] for key in (0, (0, 1))]

    def opened(*_):
        raise AssertionError("a video was opened")

    monkeypatch.setattr("advvid.data.clips.FrameVideo", opened)
    assert all(torch.equal(clips[key][0], clip) for key, clip in zip((0, (0, 1)), before, strict=True))
    assert clips[0, 2][0].shape == before[1].shape


def test_a_changed_video_is_decoded_again(videos, tmp_path):
    clips = split(videos, FrameCache(tmp_path / "cache", 1))
    old = clips[3][0], clips[3, 0][0]
    shutil.copy(videos[2], videos[3])
    assert not torch.equal(clips[3][0], old[0])
    assert same(clips, split(videos))
    used = sum(path.stat().st_size for path in kept(tmp_path / "cache"))
    assert len(kept(tmp_path / "cache")) == 8  # new frames in place of the old
    assert json.loads((tmp_path / "cache" / "room.json").read_text())["used"] == used


def cut_short(file, _):
    os.truncate(file, file.stat().st_size - 100)


def cut_in_half(file, _):
    os.truncate(file, file.stat().st_size // 2)


def emptied(file, _):
    file.write_bytes(b"")


def of_another_video(file, others):
    shutil.copy(next(o for o in others if o.stat().st_size != file.stat().st_size), file)


def shape(file):
    description = file.read_bytes()[-cache_module.END.size - 5000 :]
    return json.loads(description.split(b'"shape": ')[1].split(b"]")[0] + b"]")


def one_pixel_of_each_frame_wrong(file, _):
    pixels = np.memmap(file, np.uint8, "r+")[: np.prod(shape(file))].reshape(shape(file))
    pixels[:, 3, 4, 1] ^= 1


def never_written(file, _):
    """What a crash of the machine leaves: the description without the frames."""
    np.memmap(file, np.uint8, "r+")[: np.prod(shape(file))] = 0


@pytest.mark.parametrize(
    "damage", [cut_short, cut_in_half, emptied, of_another_video, one_pixel_of_each_frame_wrong, never_written]
)
def test_damaged_and_foreign_files_are_never_believed(videos, tmp_path, damage):
    plain, clips = split(videos), split(videos, FrameCache(tmp_path / "cache", 1))
    assert same(plain, clips)
    files = kept(tmp_path / "cache")
    sound = {file: file.read_bytes() for file in files}
    for file in files:
        damage(file, files)
    for _ in range(2):  # the first look at a wrong pixel removes the file, the second makes it again
        assert same(plain, clips)
    assert {file: file.read_bytes() for file in kept(tmp_path / "cache")} == sound


def test_it_stops_at_its_bound_with_one_message(videos, tmp_path, caplog):
    one = FrameCache(tmp_path / "one", 1)
    split(videos[:1], one)[0, 0]
    bound = 2.9 * kept(tmp_path / "one")[0].stat().st_size / 1e9
    with caplog.at_level(logging.WARNING):
        cache = FrameCache(tmp_path / "cache", bound)
        clips = split(videos, cache)
        assert same(split(videos), clips)
        assert same(split(videos), clips)
    assert 0 < sum(p.stat().st_size for p in (tmp_path / "cache").glob("??/*")) <= bound * 1e9
    assert [r.message for r in caplog.records if "is full" in r.message] == [caplog.records[0].message]
    assert FrameCache(tmp_path / "cache", 1).room.used == cache.room.used
    assert same(split(videos), split(videos, FrameCache(tmp_path / "cache", 1)))
    assert len(kept(tmp_path / "cache")) == 8  # more room, more frames


def test_a_full_disk_ends_the_filling_and_nothing_else(videos, tmp_path, caplog, monkeypatch):
    def no_space(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = FrameCache(tmp_path / "cache", 1)
    monkeypatch.setattr("advvid.data.room.tempfile.mkstemp", no_space)
    with caplog.at_level(logging.WARNING):
        assert same(split(videos), split(videos, cache))
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text
    assert cache.room.used == 0


def fill(folder, paths, gigabytes, order):
    clips = split(paths, FrameCache(folder, gigabytes))
    for i in order:
        _ = clips[i], clips[i, i]


@pytest.mark.parametrize("gigabytes", [1, 4e-4])
def test_many_processes_share_a_folder(videos, tmp_path, gigabytes):
    folder, context = tmp_path / "cache", multiprocessing.get_context("fork")
    orders = [[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 2, 3], [2, 3, 0, 1]]
    jobs = [context.Process(target=fill, args=(folder, videos, gigabytes, order)) for order in orders]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    assert [job.exitcode for job in jobs] == [0] * 4
    sizes = sum(path.stat().st_size for path in folder.glob("??/*"))
    assert sizes <= gigabytes * 1e9
    assert len(kept(folder)) == 8 if gigabytes == 1 else 0 < len(kept(folder)) < 8
    assert not list(folder.glob("??/*.tmp"))
    assert json.loads((folder / "room.json").read_text())["used"] == sizes
    assert same(split(videos), split(videos, FrameCache(folder, gigabytes)))


def test_what_killed_processes_left_counts_and_goes(tmp_path):
    cache = FrameCache(tmp_path, 1)
    left = tmp_path / "ab" / "x.tmp"
    left.parent.mkdir()
    left.write_bytes(bytes(1000))
    (tmp_path / "room.json").write_text('{"used": 5')
    assert cache.room.used == 1000
    long_ago = time.time() - 7200
    os.utime(left, (long_ago, long_ago))
    assert FrameCache(tmp_path, 1).room.used == 0
    assert not left.exists()


@real
def test_a_data_set_uses_it_and_says_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "scans"))
    settings = {"root": str(REAL / "weizmann"), "splits": str(REAL / "weizmann_splits"), "limit_train": 8}
    data = VideoFolder(**settings, limit_val=4, limit_test=4, cache=str(tmp_path / "cache"))
    plain = VideoFolder(**settings, limit_val=4, limit_test=4)
    for name in ("train", "val", "test"):
        assert torch.equal(data.split(name)[0][0], plain.split(name)[0][0])
    assert len(kept(tmp_path / "cache")) == 3
    with pytest.raises(AdvvidError, match=r"cache_gb=0 is not possible"):
        VideoFolder(**settings, cache_gb=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(AdvvidError, match=r"dataset\.cache=.*file cannot be written"):
        VideoFolder(**settings, cache=str(tmp_path / "file")).prepare()


def test_a_video_that_was_exchanged_with_its_time_kept_is_decoded_again(tmp_path):
    """A copy that keeps size and time of change cannot keep the file system's own."""
    source = tmp_path / "video"
    source.write_bytes(b"one")
    stat = source.stat()
    cache = FrameCache(tmp_path / "cache", 1)
    assert cache.keep(source, {}, 2, Fraction(25), [torch.zeros(2, 4, 4, 3, dtype=torch.uint8)]) is not None
    assert cache.find(source, {}) is not None
    time.sleep(0.02)  # the clock of a file system ticks slowly
    source.write_bytes(b"two")
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert cache.find(source, {}) is None


def test_a_full_disk_fills_the_cache_and_the_video_is_decoded_each_time(tmp_path, monkeypatch):
    cache = FrameCache(tmp_path / "cache", 1.0)
    video = tmp_path / "a.avi"
    video.write_bytes(b"x")

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    def parts():
        monkeypatch.setattr("advvid.data.room.json.dump", full)  # nor does the disk take the count
        yield torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
        full()

    assert cache.keep(video, {}, 2, Fraction(25), parts()) is None
    assert cache.full


def test_a_small_data_set_is_kept_by_itself(videos, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "own"))
    caplog.set_level(logging.INFO)
    splits = {"train": split(videos), "val": split(videos[:1])}
    exact = sum(n * 3 * 28 * 39 for n in (20, 30, 40, 50)) + 3 * 6 * 24 * 24
    assert sum(one.kept(name == "train") for name, one in splits.items()) == pytest.approx(exact, rel=0.05)

    few, many = (auto_cache(splits, 1, epochs) for epochs in (2, 6))
    assert same(split(videos), split(videos, few))
    assert len(kept(few.folder)) == 4  # the clips that are scored
    assert same(split(videos), split(videos, many))
    assert len(kept(many.folder)) == 8
    assert few.folder == many.folder == (tmp_path / "own" / "clips").resolve()

    monkeypatch.setattr(auto_module, "SMALL", 1000)
    assert auto_cache(splits, 1, 6) is None
    monkeypatch.setattr(auto_module, "SMALL", 1e9)
    monkeypatch.setattr(auto_module, "SPARE", 1e18)
    assert auto_cache(splits, 1, 6) is None
    assert [line.split(":")[0] for line in caplog.messages[-2:]] == ["decoded frames are not kept for later epochs"] * 2

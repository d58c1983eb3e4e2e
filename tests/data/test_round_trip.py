"""The codec in memory gives what a file would give."""

import os
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from advvid.core.errors import AdvvidError
from advvid.data.encode import write_video
from advvid.data.round_trip import round_trip, round_trips

REAL = Path(os.environ.get("ADVVID_REALDATA", "/nowhere"))
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here: set ADVVID_REALDATA")


def moving(frames=6, height=32, width=48):
    t, y, x = np.mgrid[0:frames, 0:height, 0:width]
    wave = np.stack([np.sin((x + 2 * t) / 5 + c) * np.cos((y - t) / 7) for c in range(3)], axis=-1)
    return np.round(127 + 100 * wave).astype(np.uint8)


def psnr(one, other):
    return 10 * np.log10(255**2 / np.square(one.astype(float) - other).mean())


@pytest.mark.parametrize(("codec", "quality"), [("libx264", 28), ("mpeg4", 5), ("ffv1", None)])
def test_it_is_what_a_file_gives_back(codec, quality, tmp_path):
    frames = moving()
    write_video(tmp_path / "clip.mkv", frames, 25, codec, quality)
    with av.open(str(tmp_path / "clip.mkv")) as file:
        expected = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    found = round_trip(frames, codec, quality)
    np.testing.assert_array_equal(found, expected)
    assert (found == frames).all() == (codec == "ffv1")


def test_odd_sides_and_single_frames_pass():
    frames = moving(1, 33, 31)
    for codec in ("libx264", "mpeg4"):
        found = round_trip(frames, codec, 2)
        assert found.shape == frames.shape
        assert psnr(found, frames) > 30


def test_processes_change_nothing():
    clips = np.stack([moving(), moving()[::-1], moving()[:, ::-1]])
    alone = round_trips(clips, "libx264", 30)
    np.testing.assert_array_equal(round_trips(clips, "libx264", 30, processes=2), alone)
    np.testing.assert_array_equal(alone[1], round_trip(clips[1], "libx264", 30))
    assert round_trips(clips[:0], "libx264").shape == (0, *clips.shape[1:])


def test_equal_frames_come_back_equal_every_time():
    """With AVX-512 x264 gave other frames for a few of a hundred equal clips, more so while memory was moved around."""
    frames = moving(16, 112, 112)
    first = round_trip(frames, "libx264", 30)
    for number in range(12):
        other = [np.full(10_000 * (number + k), number, np.uint8) for k in range(8)]
        np.testing.assert_array_equal(round_trip(frames, "libx264", 30), first)
        del other


def test_impossible_wishes_are_named():
    with pytest.raises(AdvvidError, match="no codec 'vp8'"):
        round_trip(moving(), "vp8")
    with pytest.raises(AdvvidError, match="quality=52 is outside the range of libx264"):
        round_trip(moving(), "libx264", 52)


EXPECTED = [("libx264", 28, 28, 35), ("libx264", 10, 38, 50), ("mpeg4", 3, 33, 39)]  # dB


@real
@pytest.mark.parametrize(("codec", "quality", "low", "high"), EXPECTED)
def test_real_frames_come_back_at_the_expected_psnr(codec, quality, low, high):
    """Real UCF101 clips cut to 112 x 112; ranges around what FFmpeg gives at these settings."""
    paths = sorted(REAL.glob("ucf101/*/*.avi"))[::2]
    assert paths
    for path in paths:
        with av.open(str(path)) as file:
            shown = [f.to_ndarray(format="rgb24", width=150, height=112) for f in islice(file.decode(video=0), 16)]
        frames = np.stack(shown)[:, :, 19:131]
        assert low < psnr(round_trip(frames, codec, quality), frames) < high, path.name

"""Each decoder gives exactly the frames that were asked for, whatever the file."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from advvid.core.errors import AdvvidError
from advvid.data.decoders import FrameVideo, check_decoder
from advvid.data.pyav_reader import PyAVReader

REAL = Path(os.environ.get("ADVVID_REALDATA", "/nowhere"))
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here: set ADVVID_REALDATA")


def usable(decoder: str) -> bool:
    try:
        check_decoder(decoder)
    except AdvvidError:
        return False
    return True


ALL = [
    "decord",
    "pyav",
    pytest.param(
        "torchcodec", marks=pytest.mark.skipif(not usable("torchcodec"), reason="torchcodec or FFmpeg is missing")
    ),
]

# B-frames packed two to a packet, a single key frame, a key frame in twelve, H.264, and Matroska.
FILES = (
    "hmdb51/wave/TrumanShow_wave_f_nm_np1_fr_med_26.avi",
    "ut_interaction/HandShaking/set1_17_3_0.avi",
    "ucf101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi",
    "ucf101/SoccerJuggling/v_SoccerJuggling_g23_c01.avi",
    "kinetics/arm_wrestling/mmaction2_demo.mp4",
    "kinetics/flipping_pancake/flipping_a_pancake.mkv",
)


def decoded(path: Path) -> torch.Tensor:
    """Return every frame ``[n, H, W, 3]``, decoded from the first to the last as a player does."""
    with av.open(str(path), metadata_errors="ignore") as container:
        return torch.from_numpy(np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]))


@real
@pytest.mark.parametrize("decoder", ALL)
@pytest.mark.parametrize("file", FILES)
def test_the_frames_are_those_that_were_asked_for(file, decoder):
    """decord alone seeks by times that such an .avi does not keep, and returns others without an error.

    torchcodec alone finds no end of such a file.
    """
    truth = decoded(REAL / file)
    video = FrameVideo(REAL / file, decoder)
    # Later clips come from a reader that has moved already, and from behind it; the last reaches past the end.
    for first in (len(truth) // 3, len(truth) // 2, 3, video.frames - 5):
        wanted = range(first, min(first + 16, video.frames), 4)
        expected = truth[[min(i, len(truth) - 1) for i in wanted]]
        found = video.fetch(wanted).permute(1, 2, 3, 0)
        # Two versions of FFmpeg round a few pixels of an mpeg4 frame differently, by 2 of 255 at most.
        assert int((found.int() - expected.int()).abs().max()) <= 2, f"{decoder} returned other frames from {first} on"


@real
@pytest.mark.parametrize("decoder", ALL)
@pytest.mark.parametrize("file", FILES[:3])
def test_a_video_read_in_parts_gives_what_single_clips_give(file, decoder):
    """Sequential reading and jumping must agree, or frames kept for later would be other frames."""
    whole, jumping = FrameVideo(REAL / file, decoder), FrameVideo(REAL / file, decoder)
    parts = [whole.fetch(range(i, min(i + 16, whole.frames))) for i in range(0, whole.frames, 16)]
    frames = torch.cat(parts, dim=1)
    for first in (whole.frames - 20, 7, whole.frames // 2, whole.frames - 3):
        wanted = range(first, first + 9, 2)
        kept = frames[:, [i % whole.frames for i in wanted]]
        assert torch.equal(jumping.fetch(wanted), kept)
        assert torch.equal(FrameVideo(REAL / file, decoder).fetch(wanted), kept)


@real
def test_the_reference_reads_on_from_where_it_is(monkeypatch):
    opened = []
    real_open = av.open
    monkeypatch.setattr(av, "open", lambda *a, **k: opened.append(a) or real_open(*a, **k))
    reader = PyAVReader(REAL / FILES[0])
    for first in (0, 10, 20):
        reader.get(range(first, first + 5))
    assert len(opened) == 2  # to count the frames, and to decode them
    reader.get(range(3))
    assert len(opened) == 3

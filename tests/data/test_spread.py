"""Frames that are spread over the whole of each video (``dataset.stride=spread``), as Lo & Patel's code takes them."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from pytorchvideo.data.clip_sampling import ClipSampler

from advvid.core.errors import AdvvidError
from advvid.data.cache import FrameCache
from advvid.data.clips import VideoClips
from advvid.data.cut import Cut, SpreadFrames
from advvid.data.encode import write_video
from advvid.data.falls import BedFall
from advvid.data.lists import Entry

FRAMES = 6
CUT = Cut(frames=FRAMES, stride="spread", size=16, short_side=16, flip=0.0, scale=None, views=1, decoder="decord")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A film of each length whose frame i is of grey 4 i."""
    folder = tmp_path_factory.mktemp("films")
    for length in (4, 6, 11, 12, 35):
        grey = np.arange(length, dtype=np.uint8)[:, None, None, None] * 4
        write_video(folder / f"{length}.mkv", np.broadcast_to(grey, (length, 16, 16, 3)).copy(), 25, codec="ffv1")
    return folder


@pytest.mark.parametrize(
    ("length", "wanted"),
    [
        (4, [0, 1, 2, 3, 0, 1]),  # short: it starts again
        (6, [0, 1, 2, 3, 4, 5]),
        (11, [0, 1, 2, 3, 4, 5]),  # 11 // 6 = 1
        (12, [0, 2, 4, 6, 8, 10]),
        (35, [0, 5, 10, 15, 20, 25]),  # 35 // 6 = 5
    ],
)
def test_every_nth_frame_from_the_first_on_in_training_and_testing(films, tmp_path, length, wanted):
    for cache in (None, FrameCache(tmp_path / "cache", 1e9), FrameCache(tmp_path / "cache", 1e9)):
        split = VideoClips(films, [Entry(f"{length}.mkv", 0)], CUT, cache)
        for key in (0, (0, 1), (0, 2)):
            clip = split[key][0]
            assert clip.shape == (3, FRAMES, 16, 16)
            assert (clip[0].float().mean(dim=(1, 2)) / 4).round().int().tolist() == wanted


def test_it_is_a_sampler_of_pytorchvideo():
    sampler = SpreadFrames(Fraction(3))
    assert isinstance(sampler, ClipSampler)
    clip = sampler(None, Fraction(7, 2), {})
    assert (clip.clip_start_sec, clip.clip_end_sec, clip.is_last_clip) == (0, 3, True)


def test_clips_of_another_rule_are_others(films):
    other = Cut(**{**vars(CUT), "stride": 2})
    spread, strided = (VideoClips(films, [Entry("12.mkv", 0)], cut) for cut in (CUT, other))
    assert spread.digests() != strided.digests()


def test_a_file_gives_the_same_clip_and_its_own_rate(films):
    view = BedFall.file_view({"frames": FRAMES, "stride": "spread", "size": 16})
    film = films / "35.mkv"
    assert torch.equal(view.clip(film), VideoClips(films, [Entry("35.mkv", 0)], CUT)[0][0])
    assert view.rate(film) == Fraction(25, 5)
    starts = [
        (start, (clip[0].float().mean(dim=(1, 2)) / 4).round().int().tolist()) for start, clip in view.windows(film, 3)
    ]
    assert starts == [(0, [0, 5, 10, 15, 20, 25]), (1, [5, 10, 15, 20, 25, 30])]


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"stride": "spread", "test_clips": 3}, "test_clips=3 would be"), ({"stride": "even"}, "dataset.stride|stride")],
)
def test_what_cannot_be_is_told(settings, told):
    with pytest.raises(AdvvidError, match=told):
        BedFall(**settings)

"""``runtime.device_transforms=true``: training clips that a simulated GPU resizes, crops and mirrors."""

import numpy as np
import pytest
import torch

from advvid.data.cache import FrameCache
from advvid.data.clips import VideoClips
from advvid.data.cut import Cut
from advvid.data.device_transforms import DeviceVaried, varied_on
from advvid.data.encode import write_video
from advvid.data.lists import Entry
from advvid.data.loader import eval_batches, train_batches
from advvid.data.prefetch import prefetch
from simulated_gpu import SimulatedGpu

SIZES = [(40, 56), (48, 36), (40, 56), (64, 44)]


@pytest.fixture
def videos(tmp_path):
    """Return a function that gives a split of four videos, of three sizes."""
    rng = np.random.default_rng(0)
    for n, (height, width) in enumerate(SIZES):
        still = rng.integers(0, 256, (height // 4, width // 4, 3)).repeat(4, axis=0).repeat(4, axis=1)
        write_video(
            tmp_path / f"v{n}.mp4", np.stack([np.roll(still, t, axis=1) for t in range(12)]).astype(np.uint8), 25
        )
    entries = [Entry(f"v{n}.mp4", n % 2) for n in range(len(SIZES))]

    def split(cache=None, **settings):
        given = {"frames": 4, "stride": 2, "size": 24, "short_side": 28, "flip": 0.5, "scale": None, "views": 1}
        return VideoClips(tmp_path, entries, Cut(**given | settings, decoder="pyav"), cache)

    return split


def on_the_gpu(split):
    """Return the batches of two epochs as they arrive, on the host again, and how often the host waited for them."""
    with SimulatedGpu() as gpu:
        varied = varied_on(split, torch.device("cuda"))
        walks = [prefetch(train_batches(varied, 3, seed=1, epoch=epoch), "cuda", varied) for epoch in range(2)]
        found = [batch for walk in walks for batch in walk]
        assert all(batch.inputs.is_cuda and batch.inputs.dtype == torch.uint8 for batch in found)
        waits = gpu.count()
        return [(batch.inputs.cpu(), batch.target.cpu(), batch.ids) for batch in found], waits


def on_the_cpu(split):
    return [(b.inputs, b.target, b.ids) for epoch in range(2) for b in train_batches(split, 3, seed=1, epoch=epoch)]


@pytest.mark.parametrize("settings", [{}, {"scale": (0.3, 1.0)}, {"short_side": 40}])
def test_clips_of_several_sizes_are_those_of_the_loader_within_a_grey_level(videos, settings):
    found, waits = on_the_gpu(videos(**settings))
    assert waits == 0
    for (clips, labels, ids), (plain, targets, names) in zip(found, on_the_cpu(videos(**settings)), strict=True):
        assert ids == names
        assert torch.equal(labels, targets)
        assert clips.shape == plain.shape
        difference = (clips.int() - plain.int()).abs()
        assert int(difference.max()) <= 1
        # The same places and mirroring: a shift by a pixel would change most values by far more.
        assert float((difference > 0).float().mean()) < 0.5


def test_what_a_cache_holds_is_the_same_to_the_bit(videos, tmp_path):
    cache = FrameCache(tmp_path / "cache", 1)
    found, _ = on_the_gpu(videos(cache))
    plain = on_the_cpu(videos())
    assert all(torch.equal(a[0], b[0]) for a, b in zip(found, plain, strict=True))


def test_scored_clips_and_a_cpu_are_left_as_they_are(videos):
    split = videos()
    assert varied_on(split, torch.device("cpu")) is split
    varied = DeviceVaried(split)
    for ours, plain in zip(eval_batches(varied, 2, workers=1), eval_batches(split, 2), strict=True):
        assert torch.equal(ours.inputs, plain.inputs)
    assert varied.digests() == split.digests()
    assert torch.equal(varied[1, 5][0], split[1, 5][0])

"""Corruptions: known answers, five severities that grow, the same clip from the same generator."""

import itertools
from typing import get_args, get_type_hints

import pytest
import torch

from advvid.attacks.blur_corruption import BlurCorruption, disc, moved
from advvid.attacks.camera_corruption import CameraCorruption
from advvid.attacks.codec_corruption import CodecCorruption
from advvid.attacks.noise_corruption import NoiseCorruption
from advvid.attacks.time_corruption import TimeCorruption

FAMILIES = (NoiseCorruption, BlurCorruption, CodecCorruption, CameraCorruption, TimeCorruption)
KINDS = [(family, kind) for family in FAMILIES for kind in get_args(get_type_hints(family)["kind"])]
UNORDERED = ("static_rotation", "reversing", "box_jumbling", "jumbling")  # turned or reordered clips move no farther


def one(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def clip():
    """Smooth pictures in which something moves, ``[3, 8, 48, 64]``."""
    rows, columns, time = torch.arange(48)[:, None], torch.arange(64)[None], torch.arange(8)[:, None, None]
    wave = torch.sin((rows + columns + 4 * time) / 5) * torch.cos(columns / 9 + time / 3)
    return (0.5 + 0.4 * wave).expand(3, 8, 48, 64).contiguous()


@pytest.mark.parametrize(("family", "kind"), KINDS, ids=lambda part: getattr(part, "__name__", part))
def test_a_corruption_grows_with_its_severity(family, kind, clip):
    far = []
    for severity in range(1, 6):
        corruption = family(kind=kind, severity=severity)
        runs = [corruption.corrupt(clip, one(seed)).clamp(0, 1) for seed in range(4)]
        assert torch.equal(runs[0], corruption.corrupt(clip, one(0)).clamp(0, 1))
        assert all(made.shape == clip.shape for made in runs)
        far.append(sum(float((made - clip).square().mean()) for made in runs) / 4)
    assert far[-1] > 0
    assert kind in UNORDERED or all(weak <= 1.02 * strong for weak, strong in itertools.pairwise(far)), far


def test_noise_has_the_mean_and_spread_that_it_states():
    grey = torch.full((3, 8, 64, 64), 0.5)
    spread = {"gaussian": 0.18, "shot": (0.5 / 50) ** 0.5, "speckle": 0.5 * 0.25, "impulse": 0.5 * 0.09**0.5}
    for kind, expected in spread.items():
        made = NoiseCorruption(kind=kind, severity=3).corrupt(grey, one())
        assert float(made.mean()) == pytest.approx(0.5, abs=0.003)
        assert float(made.std()) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("kind", get_args(get_type_hints(BlurCorruption)["kind"]))
def test_blur_leaves_an_even_picture_and_the_brightness(kind):
    even = torch.full((3, 2, 32, 32), 0.3)
    torch.testing.assert_close(BlurCorruption(kind=kind, severity=5).corrupt(even, one()), even, atol=1e-5, rtol=0)


@pytest.mark.parametrize("radius", [0.43, 1.0, 2.5, 7.0])
def test_a_disc_covers_what_its_radius_says(radius):
    kernel = disc(radius)
    assert float(kernel.sum()) == pytest.approx(1)
    assert torch.equal(kernel, kernel.T)
    covered = float(kernel[len(kernel) // 2, len(kernel) // 2])  # a pixel in the middle, wholly inside or not
    assert radius < 0.75 or covered == pytest.approx(1 / (torch.pi * radius**2), rel=0.05)


@pytest.mark.parametrize("side", [32, 56])
@pytest.mark.parametrize("kind", ["gaussian", "defocus"])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_a_small_frame_is_blurred_as_a_large_one_made_small(kind, severity, side):
    small = torch.rand(3, 1, side, side, generator=one())
    large = small.repeat_interleave(224 // side, dim=2).repeat_interleave(224 // side, dim=3)
    blurred = BlurCorruption(kind=kind, severity=severity)
    wanted = torch.nn.functional.avg_pool2d(blurred.corrupt(large, one())[:, 0], 224 // side)
    change = (wanted - small[:, 0]).abs().mean()
    assert float((blurred.corrupt(small, one())[:, 0] - wanted).abs().mean()) < 0.1 * float(change)


@pytest.mark.parametrize("kind", get_args(get_type_hints(BlurCorruption)["kind"]))
def test_the_weakest_blur_is_seen_at_32_pixels(kind):
    clip = torch.rand(3, 2, 32, 32, generator=one())
    assert float((BlurCorruption(kind=kind, severity=1).corrupt(clip, one()) - clip).abs().mean()) > 0.002


def test_places_are_counted_in_pixels_from_the_middle():
    frames = torch.rand(2, 3, 6, 10, generator=one())
    torch.testing.assert_close(moved(frames, torch.eye(2), torch.zeros(2)), frames, atol=1e-5, rtol=0)
    shifted = moved(frames, torch.eye(2), torch.tensor([[2.0, 0.0], [0.0, -1.0]]))
    torch.testing.assert_close(shifted[0, :, :, :-2], frames[0, :, :, 2:], atol=1e-5, rtol=0)
    torch.testing.assert_close(shifted[1, :, 1:], frames[1, :, :-1], atol=1e-5, rtol=0)
    square = torch.rand(1, 3, 8, 8, generator=one())
    quarter = moved(square, torch.tensor([[0.0, -1.0], [1.0, 0.0]]), torch.zeros(2))
    torch.testing.assert_close(quarter, square.rot90(1, (2, 3)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 5, 8, 16])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_frames_change_places_as_each_kind_says(frames, severity):
    def order(kind):
        return TimeCorruption(kind=kind, severity=severity).order(frames, one()).tolist()

    for kind in ("jumbling", "box_jumbling"):
        assert sorted(order(kind)) == list(range(frames))
    left = max(1, round({1: 0.75, 3: 0.375, 5: 0.125}[severity] * frames))
    for kind in ("sampling", "freezing"):
        shown = order(kind)
        assert shown[0] == 0
        assert len(set(shown)) == left
        assert shown == sorted(shown)
        assert all(frame <= place for place, frame in enumerate(shown))
    assert order("reversing") == order("sampling")[::-1]


def test_sampling_holds_each_frame_until_the_next():
    assert TimeCorruption(kind="sampling", severity=2).order(8, one()).tolist() == [0, 0, 2, 2, 4, 4, 6, 6]

"""Known answers of the purifiers that are one formula each."""

import colorsys
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from advvid.core.errors import AdvvidError
from advvid.purifiers.color_space import SPACES, ColorSpace, to_lab
from advvid.purifiers.filters import Bilateral, GaussianBlur, MeanFilter, MedianFilter, Resize, Swirl
from advvid.purifiers.levels import BitDepth, FFTPerturbation, Grayscale, HistogramEqualization, Jpeg, NoiseInjection


def generators(count):
    return [torch.Generator().manual_seed(i) for i in range(count)]


def against(purifier, noise, filtered):
    """Compare with SciPy's filter of every channel of every frame."""
    expected = [[[filtered(frame.numpy()) for frame in channel] for channel in clip] for clip in noise]
    np.testing.assert_allclose(purifier(noise), np.array(expected), atol=3e-5)


def test_filters_are_those_of_scipy(noise):
    against(GaussianBlur(1.0), noise, lambda f: ndimage.gaussian_filter(f, 1.0, mode="nearest", truncate=3.0))
    against(MeanFilter(5), noise, lambda f: ndimage.uniform_filter(f, 5, mode="nearest"))
    against(MedianFilter(3), noise, lambda f: ndimage.median_filter(f, 3, mode="nearest"))


def test_bit_depth_and_grey_by_hand():
    clips = torch.tensor([0.0, 0.2, 0.3, 1.0]).view(1, 1, 1, 1, 4).expand(1, 3, 1, 1, 4)
    assert BitDepth(2)(clips)[0, 0, 0, 0].tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1])
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1, 1)
    assert Grayscale()(red).flatten().tolist() == pytest.approx([0.299] * 3)


def test_jpeg_keeps_a_flat_frame_and_worsens_with_quality(noise):
    flat = torch.full((1, 3, 1, 16, 16), 128 / 255)
    torch.testing.assert_close(Jpeg(90)(flat), flat, atol=1 / 255, rtol=0)
    errors = [float((Jpeg(quality)(noise) - noise).square().mean()) for quality in (95, 50, 10)]
    assert errors == sorted(errors)
    assert errors[0] < errors[2]


def test_resizing_keeps_what_the_smaller_picture_can_hold():
    blocks = torch.rand(1, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0)).repeat_interleave(2, 3)
    blocks = blocks.repeat_interleave(2, 4)
    torch.testing.assert_close(Resize(0.5, "nearest")(blocks), blocks)


def test_bilateral_keeps_edges_and_is_a_blur_where_colours_do_not_count(noise):
    edge = torch.zeros(1, 3, 1, 9, 9)
    edge[..., 5:] = 1
    torch.testing.assert_close(Bilateral(sigma_color=0.05)(edge), edge)
    against(Bilateral(7, 1.0, 100), noise, lambda f: ndimage.gaussian_filter(f, 1.0, mode="nearest", truncate=3.0))
    # Two pixels side by side, whose columns the border repeats: the left one sees itself, itself again, and the other.
    pair = torch.tensor([0.2, 0.3]).view(1, 1, 1, 1, 2).expand(1, 3, 1, 1, 2)
    itself, other = math.exp(-1 / 2), math.exp(-1 / 2 - 3 * 0.1**2 / (2 * 0.2**2))
    expected = ((1 + itself) * 0.2 + other * 0.3) / (1 + itself + other)
    assert float(Bilateral(3, 1.0, 0.2)(pair)[0, 0, 0, 0, 0]) == pytest.approx(expected, rel=1e-5)


def test_swirl_reads_where_the_formula_says():
    frame = torch.rand(17, 21, generator=torch.Generator().manual_seed(2))
    strength, radius = 1.3, 12.0
    found = Swirl(strength, radius)(frame.expand(1, 3, 1, -1, -1))[0, 1, 0]
    y, x = np.mgrid[0:17, 0:21].astype(float)
    y, x = y - 8, x - 10
    far = np.hypot(x, y)
    angle = np.arctan2(y, x) + strength * np.exp(-far / (math.log(2) * radius / 5))
    places = [far * np.sin(angle) + 8, far * np.cos(angle) + 10]
    expected = ndimage.map_coordinates(frame.numpy(), places, order=1, mode="nearest")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert float(found[8, 10]) == pytest.approx(float(frame[8, 10]), abs=1e-5)
    assert float((found - frame).abs().max()) > 0.1


@pytest.mark.parametrize("kind", ["gaussian", "uniform", "speckle"])
def test_noise_has_the_asked_size(kind):
    clips = torch.full((2, 3, 4, 32, 32), 0.5)
    added = NoiseInjection(0.05, kind)(clips, generators(2)) - clips
    assert float(added.std()) == pytest.approx(0.025 if kind == "speckle" else 0.05, rel=0.02)
    assert float(added.mean()) == pytest.approx(0, abs=2e-3)
    assert float((added[0] - added[1]).abs().max()) > 0.01
    if kind == "uniform":
        assert float(added.abs().max()) <= 0.05 * 3**0.5 + 1e-6
    assert torch.equal(NoiseInjection(0, kind)(clips), clips)


@pytest.mark.parametrize("width", [23, 24])
def test_fourier_coefficients_are_scaled_dropped_and_the_mean_is_kept(width):
    clips = 0.4 + 0.2 * torch.rand(2, 3, 2, 16, width, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(FFTPerturbation(0, 0)(clips, generators(2)), clips)
    means = clips.mean(dim=(3, 4), keepdim=True)
    torch.testing.assert_close(FFTPerturbation(0, 1)(clips, generators(2)), means.expand_as(clips))
    before = torch.fft.rfft2(clips)[..., 1:-1]  # outside the first and last column each one stands for itself
    after = torch.fft.rfft2(FFTPerturbation(0.1, 0.25)(clips, generators(2)))[..., 1:-1]
    ratio = (after / before).abs()
    dropped = ratio < 1e-3
    assert float(dropped.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(ratio[~dropped].min()) > 0.89
    assert float(ratio[~dropped].max()) < 1.11


def test_equalised_levels_are_spread_over_the_whole_range():
    # Four pixels of each of four levels: a quarter of those above the darkest lie at or below each further level.
    levels = torch.tensor([100, 110, 111, 120]).repeat_interleave(4).view(1, 1, 1, 4, 4).expand(1, 3, 1, 4, 4) / 255
    for channels in ("luma", "each"):
        found = HistogramEqualization(channels)(levels)[0, 0, 0].flatten()[::4]
        assert found.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1 / 255)
        flat = levels[..., :1, :2]
        torch.testing.assert_close(HistogramEqualization(channels)(flat), flat)
    clips = torch.rand(1, 3, 1, 8, 8, generator=torch.Generator().manual_seed(3)) * 0.2 + 0.4
    kept = HistogramEqualization("luma")(clips)
    inside = ((kept > 0) & (kept < 1)).all(dim=1, keepdim=True)
    assert inside.float().mean() > 0.5
    torch.testing.assert_close(((kept[:, :1] - kept[:, 1:2]) * inside), (clips[:, :1] - clips[:, 1:2]) * inside)


@pytest.mark.parametrize("space", SPACES)
def test_colours_come_back(space, noise):
    there, back = SPACES[space]
    clips = torch.cat([noise.double(), torch.zeros_like(noise), torch.ones_like(noise)])
    torch.testing.assert_close(back(there(clips)), clips, atol=1e-6, rtol=0)
    torch.testing.assert_close(ColorSpace(space, 0)(noise, generators(2)), noise, atol=2e-5, rtol=0)
    assert 0.005 < float((ColorSpace(space, 0.05)(noise, generators(2)) - noise).abs().mean()) < 0.2


def test_colour_spaces_by_hand(noise):
    found = SPACES["hsv"][0](noise)[0, :, 0].permute(1, 2, 0)[:4, :4].reshape(-1, 3)
    pixels = noise[0, :, 0].permute(1, 2, 0)[:4, :4].reshape(-1, 3).double()
    for one, expected in zip(found.tolist(), (colorsys.rgb_to_hsv(*p) for p in pixels.tolist()), strict=True):
        assert one == pytest.approx(expected, abs=1e-5)
    colours = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 0, 1]]).view(3, 3, 1, 1, 1)
    # CIE L*a*b* of white, red and blue of sRGB, to the second digit.
    known = [(100, 0, 0), (53.24, 80.09, 67.20), (32.30, 79.19, -107.86)]
    for one, expected in zip((100 * to_lab(colours)).flatten(1).tolist(), known, strict=True):
        assert one == pytest.approx(expected, abs=0.02)
    yuv = SPACES["yuv"][0](colours)
    assert yuv[1].flatten().tolist() == pytest.approx([0.299, -0.168736, 0.5], abs=1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_gradients_of_every_colour_space_are_right(space):
    clips = 0.2 + 0.6 * torch.rand(1, 3, 1, 3, 3, generator=torch.Generator().manual_seed(4)).double()
    purifier = ColorSpace(space)
    assert torch.autograd.gradcheck(lambda x: purifier(x, generators(1)), clips.requires_grad_())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Bilateral(size=4), "Bilateral.size=4 is not possible: choose an odd number from 1 to 15"),
        (
            lambda: NoiseInjection(kind="pink"),
            "NoiseInjection.kind='pink' is not known: choose gaussian, uniform or speckle",
        ),
        (lambda: FFTPerturbation(drop=2), "FFTPerturbation.drop=2 is not possible: choose a number from 0 to 1"),
        (lambda: HistogramEqualization("red"), "HistogramEqualization.channels='red' is not known"),
        (lambda: ColorSpace("cmyk"), "ColorSpace.space='cmyk' is not known: choose yuv, hsv or lab"),
        (lambda: Swirl(strength="much"), "Swirl.strength='much' is not possible: choose a number from -20 to 20"),
        (lambda: Jpeg(0), "Jpeg.quality=0 is not possible: choose a whole number from 1 to 100"),
    ],
)
def test_impossible_settings_are_told_in_one_sentence(make, words):
    with pytest.raises(AdvvidError, match=words):
        make()

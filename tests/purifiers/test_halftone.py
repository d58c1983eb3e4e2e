"""Error diffusion against a plain loop, and what it keeps."""

import pytest
import torch

from advvid.core.errors import AdvvidError
from advvid.purifiers.filters import GaussianBlur
from advvid.purifiers.halftone import FILTER, Halftone, diffuse


def by_loop(frame, levels):
    """Floyd and Steinberg pixel by pixel; shares that would leave the frame go to the rest."""
    height, width = frame.shape
    work, out = (frame.double() * (levels - 1)).tolist(), [[0.0] * width for _ in range(height)]
    for i in range(height):
        for j in range(width):
            out[i][j] = float(min(max(round(work[i][j]), 0), levels - 1))
            inside = [(i + d, j + r, w) for r, d, w in FILTER if i + d < height and 0 <= j + r < width]
            for below, beside, weight in inside:
                work[below][beside] += (work[i][j] - out[i][j]) * weight / sum(w for _, _, w in inside)
    return torch.tensor(out, dtype=torch.float64) / (levels - 1)


@pytest.mark.parametrize(("height", "width"), [(9, 14), (14, 5), (1, 7), (7, 1), (3, 2), (1, 1)])
@pytest.mark.parametrize("levels", [2, 4])
def test_lines_give_what_a_loop_over_pixels_gives(height, width, levels):
    frames = torch.rand(2, height, width, generator=torch.Generator().manual_seed(height), dtype=torch.float64)
    torch.testing.assert_close(diffuse(frames, levels), torch.stack([by_loop(f, levels) for f in frames]))


@pytest.mark.parametrize("brightness", [0.02, 0.2, 0.5, 0.77, 1.0])
def test_the_mean_is_kept(brightness):
    """To the error of the last pixel: half a level among all pixels, or little more."""
    clips = torch.full((1, 3, 2, 24, 40), brightness)
    clips[:, :, 1] *= torch.linspace(0, 1, 40)
    found = Halftone()(clips)
    assert set(found.unique().tolist()) <= {0.0, 1.0}
    assert ((found - clips).mean(dim=(3, 4)).abs() <= 1 / (24 * 40)).all()


def test_dots_blur_to_the_picture():
    y, x = torch.meshgrid(torch.linspace(0, 3, 40), torch.linspace(0, 4, 48), indexing="ij")
    clips = (0.5 + 0.4 * torch.sin(x + y)).expand(1, 3, 1, 40, 48)
    blur = GaussianBlur(2.0)
    far = (blur(Halftone()(clips)) - blur(clips)).abs()
    assert far.mean() < 0.03
    plain = (blur(clips.round()) - blur(clips)).abs()
    assert far.mean() < plain.mean() / 5


def test_values_on_the_levels_stay():
    clips = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0]).expand(1, 3, 1, 6, 4)
    torch.testing.assert_close(Halftone(4)(clips), clips)


def test_the_gradient_may_be_that_of_a_blur(noise):
    x = noise.clone().requires_grad_()
    (found,) = torch.autograd.grad(Halftone(surrogate=GaussianBlur(1.0))(x)[..., 5, 5].sum(), x)
    (blurred,) = torch.autograd.grad(GaussianBlur(1.0)(x)[..., 5, 5].sum(), x)
    torch.testing.assert_close(found, blurred)


def test_one_level_is_no_picture():
    with pytest.raises(AdvvidError, match="levels=1 is not possible"):
        Halftone(1)

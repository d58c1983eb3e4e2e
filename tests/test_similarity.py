"""SSIM against torchmetrics, and the distances of sparse attacks by hand."""

import pytest
import torch

from advvid.core.errors import AdvvidError
from advvid.metrics.similarity import default_scales, dissimilarity, ssim
from advvid.threats.sparse import l21


@pytest.fixture
def functional():
    return pytest.importorskip("torchmetrics.functional.image")


def pair(side, frames=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    clips = torch.rand(2, 3, frames, side, side, generator=generator)
    return clips, (clips + 0.1 * torch.randn(clips.shape, generator=generator)).clamp(0, 1)


def test_a_single_window_is_the_formula_by_hand():
    """On frames of 11 x 11 pixels there is one place: Wang et al. 2004, eq. 13, with weighted moments."""
    first, second = pair(11, frames=1)
    row = torch.exp(-((torch.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    weights = row[:, None] * row[None, :] / row.sum() ** 2

    def moment(x):
        return (x[:, :, 0] * weights).sum(dim=(2, 3))

    mean_a, mean_b = moment(first), moment(second)
    shift_a, shift_b = first - mean_a[..., None, None, None], second - mean_b[..., None, None, None]
    variance = moment(shift_a**2) + moment(shift_b**2)
    top = (2 * mean_a * mean_b + 1e-4) * (2 * moment(shift_a * shift_b) + 9e-4)
    expected = (top / ((mean_a**2 + mean_b**2 + 1e-4) * (variance + 9e-4))).mean(dim=1)
    torch.testing.assert_close(ssim(first, second)[:, 0], expected, atol=1e-5, rtol=0)


def test_single_scale_agrees_with_torchmetrics(functional):
    first, second = pair(32)
    own = ssim(first, second)
    for t in range(2):
        _, image = functional.structural_similarity_index_measure(
            second[:, :, t], first[:, :, t], data_range=1.0, reduction="none", return_full_image=True
        )
        # Their mean takes in places where the window reaches over the edge into a mirror image; ours does not.
        inside = image[..., 5:-5, 5:-5].flatten(1).mean(dim=1)
        torch.testing.assert_close(own[:, t], inside, atol=1e-5, rtol=0)


def test_five_scales_agree_with_torchmetrics(functional):
    first, second = pair(192, frames=1)
    theirs = functional.multiscale_structural_similarity_index_measure(
        second[:, :, 0], first[:, :, 0], data_range=1.0, reduction="none"
    )
    # They average over channels before the product of scales, we after it.
    torch.testing.assert_close(ssim(first, second)[:, 0], theirs, atol=2e-3, rtol=0)
    assert default_scales(192, 192) == 5
    assert default_scales(112, 112) == 1


def test_gradient_is_finite_and_zero_at_equality():
    first, _ = pair(16)
    second = first.clone().requires_grad_()
    (grad,) = torch.autograd.grad(dissimilarity(second, first).sum(), second)
    assert grad.abs().max() < 1e-5
    for scales in (1, 2):
        first, noisy = pair(32)
        noisy = noisy.requires_grad_()
        (grad,) = torch.autograd.grad(dissimilarity(noisy, first, scales=scales).sum(), noisy)
        assert grad.isfinite().all()
        assert grad.abs().max() > 1e-5


def test_only_touched_frames_count():
    first, second = pair(16, frames=4)
    mixed = first.clone()
    mixed[:, :, 2] = second[:, :, 2]
    expected = 1 - ssim(first[:, :, 2:3], second[:, :, 2:3])[:, 0]
    torch.testing.assert_close(dissimilarity(mixed, first), expected, atol=1e-6, rtol=0)


def test_low_precision_around_it_changes_nothing():
    first, second = pair(16)
    with torch.autocast("cpu", torch.bfloat16):
        low = ssim(first, second)
    torch.testing.assert_close(low, ssim(first, second), atol=0, rtol=0)


def test_frames_need_not_be_square():
    first, second = pair(24)
    wide, other = (x[..., :9, :] for x in (first, second))
    torch.testing.assert_close(ssim(wide.mT, other.mT), ssim(wide, other), atol=1e-6, rtol=0)


def test_too_many_scales_are_refused():
    first, second = pair(16)
    with pytest.raises(AdvvidError, match="22 pixels"):
        ssim(first, second, scales=2)


def test_l21_by_hand():
    delta = torch.zeros(1, 3, 3, 2, 2)
    delta[:, :, 0] = 0.3  # root mean square 0.3
    delta[:, 0, 2, 0, 0] = 0.6  # 0.6 / sqrt(12)
    assert l21(delta).item() == pytest.approx(0.3 + 0.6 / 12**0.5, abs=1e-6)
    zero = torch.zeros(1, 3, 2, 2, 2, requires_grad=True)
    (grad,) = torch.autograd.grad(l21(zero).sum(), zero)
    assert (grad == 0).all()

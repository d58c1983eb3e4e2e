"""How alike two clips look: the structural similarity index of their frames."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from advvid.core.errors import AdvvidError

# Wang et al. 2003, table 1: the weight of each scale in multi-scale SSIM, finest first.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SIGMA = 1.5


def default_scales(height: int, width: int) -> int:
    """Return 5 scales where the 11-pixel window fits the coarsest with room (above 160 pixels), else 1."""
    return len(SCALE_WEIGHTS) if min(height, width) > 160 else 1


def ssim(first: Tensor, second: Tensor, *, width: float = 1.0, scales: int | None = None) -> Tensor:
    """Return the SSIM of each frame (Wang et al. 2004, eq. 13; multi-scale: Wang et al. 2003, eq. 7).

    Gaussian window of 11 pixels and sigma 1.5 (smaller for frames below 11 pixels, always odd), applied where it lies
    wholly inside the frame; K1 = 0.01, K2 = 0.03; the mean over places and channels. Differentiable; in float32.

    Args:
        first: clips ``[B, C, T, H, W]``.
        second: clips of the same shape.
        width: length of the interval in which values lie.
        scales: 1 (single scale) to 5; None for ``default_scales``. With fewer than five the weights are rescaled to
            sum to 1.

    Returns:
        ``[B, T]``, 1 where frames are equal.

    Raises:
        AdvvidError: if the frames are too small for the scales.

    Example:
        >>> frames = torch.rand(1, 3, 2, 16, 16)
        >>> bool((ssim(frames, frames) == 1).all())
        True
    """
    height, side = first.shape[-2:]
    count = default_scales(height, side) if scales is None else scales
    if not 1 <= count <= len(SCALE_WEIGHTS):
        raise AdvvidError(f"scales={count} is not possible: SSIM has 1 to {len(SCALE_WEIGHTS)} scales")
    if count > 1 and min(height, side) // 2 ** (count - 1) < 11:
        raise AdvvidError(
            f"SSIM of {count} scales needs frames of at least {11 * 2 ** (count - 1)} pixels a side, got {height} x "
            f"{side}: choose fewer scales"
        )
    batch, channels, frames = first.shape[:3]
    a, b = (x.float().transpose(1, 2).reshape(batch * frames, channels, height, side) for x in (first, second))
    if count == 1:
        return _terms(a, b, width)[0].mean(dim=1).view(batch, frames)
    total = sum(SCALE_WEIGHTS[:count])
    result = a.new_ones(batch * frames, channels)
    for scale in range(count):
        whole, contrast = _terms(a, b, width)
        part = whole if scale == count - 1 else contrast
        # Contrast may be negative, of which no root exists; the floor keeps the gradient finite.
        result = result * part.clamp_min(1e-6).pow(SCALE_WEIGHTS[scale] / total)
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return result.mean(dim=1).view(batch, frames)


def dissimilarity(first: Tensor, second: Tensor, *, width: float = 1.0, scales: int | None = None) -> Tensor:
    """Return ``1 - SSIM`` summed over the frames of each clip, ``[B]`` (DeepSAVA, sec. 3.2): 0 for equal clips.

    Frames that are equal contribute nothing, so that only the touched frames of a sparse attack count.
    """
    return (1 - ssim(first, second, width=width, scales=scales)).sum(dim=1)


def _terms(a: Tensor, b: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Return the means over places of SSIM and of its contrast-structure part, each ``[N, C]``."""
    c1, c2 = (0.01 * width) ** 2, (0.03 * width) ** 2
    # Variances are small differences of large numbers: low precision would make noise of them, and so would a frame's
    # brightness, which is taken away before squaring and has no part in them.
    with torch.autocast(a.device.type, enabled=False):
        light_a, light_b = (x.detach().mean(dim=(2, 3), keepdim=True) for x in (a, b))
        a, b = a - light_a, b - light_b
        low_a, low_b, square_a, square_b, product = _blur(torch.cat([a, b, a * a, b * b, a * b])).chunk(5)
    variances = (square_a - low_a * low_a) + (square_b - low_b * low_b)
    contrast = (2 * (product - low_a * low_b) + c2) / (variances + c2)
    mean_a, mean_b = low_a + light_a, low_b + light_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
    return (luminance * contrast).flatten(2).mean(dim=2), contrast.flatten(2).mean(dim=2)


def _blur(x: Tensor) -> Tensor:
    """Filter rows, then columns, with a Gaussian; the 2-D one is the product of the two.

    Each is a matrix product: up to frames of 224 pixels that is ten times as fast on a CPU as a convolution of single
    channels, whose gradient takes longer than the video model's own.
    """
    height, side = x.shape[-2:]
    window = _window(min(11, height, side), x)
    return _bands(height, window) @ (x @ _bands(side, window).T)


def _window(size: int, like: Tensor) -> Tensor:
    """Return the Gaussian weights along one axis, of odd length and sum 1."""
    size -= 1 - size % 2
    place = torch.arange(size, device=like.device, dtype=like.dtype) - size // 2
    weights = (-(place**2) / (2 * SIGMA**2)).exp()
    return weights / weights.sum()


def _bands(side: int, window: Tensor) -> Tensor:
    """Return the matrix that slides a window along an axis wherever it lies wholly inside, ``[places, side]``."""
    places = side - len(window) + 1
    return torch.stack([F.pad(window, (i, places - 1 - i)) for i in range(places)])

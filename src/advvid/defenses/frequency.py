"""Clips whose fine detail is moved in time or in space, while what is smooth stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import gaussian_blur

Edges = Literal["wrap", "repeat"]


def low_frequencies(clips: Tensor, kernel: int) -> Tensor:
    """Return every frame blurred by a Gaussian kernel of ``kernel`` pixels a side; borders repeat their last pixel.

    The deviation belongs to the kernel's size: ``0.3 * ((kernel - 1) / 2 - 1) + 0.8``, as in OpenCV.

    Shape:
        clips ``[B, C, T, H, W]``; result alike.
    """
    reach = kernel // 2
    frames = clips.transpose(1, 2).flatten(0, 1)
    wide = functional.pad(frames, [reach] * 4, mode="replicate")
    with torch.autocast(clips.device.type, enabled=False):
        blurred = gaussian_blur(wide, [kernel, kernel])
    blurred = blurred[..., reach : reach + clips.shape[3], reach : reach + clips.shape[4]]
    return blurred.unflatten(0, (clips.shape[0], clips.shape[2])).transpose(1, 2)


def moved(values: Tensor, dim: int, by: int, edges: Edges) -> Tensor:
    """Return values moved by some places towards higher indices of a dimension.

    Args:
        values: any tensor.
        dim: the dimension.
        by: number of places.
        edges: what comes in: ``wrap`` what leaves at the other end, ``repeat`` the first value again.
    """
    if by == 0:
        return values
    size = values.shape[dim]
    index = torch.arange(size, device=values.device) - by
    return values.index_select(dim, index % size if edges == "wrap" else index.clamp(min=0))


@dataclass(frozen=True)
class Perturb:
    """``Perturb(X) = Shift(X - X_LF) + X_LF`` with ``X_LF`` the blurred clip: fine detail arrives late, or beside its place.

    A clip that is constant in time is left as it is by a shift in time, a clip of one colour by any.

    Args:
        kernel: pixels a side of the blur, odd; 1 blurs nothing, so that nothing is moved.
        frames: by which the detail comes later.
        pixels: by which it is moved to the right and down.
        edges: see ``moved``.

    Shape:
        clips ``[B, C, T, H, W]``; result alike, and not clamped to any range.

    Example:
        >>> Perturb(kernel=5, frames=1)(torch.full((1, 3, 2, 8, 8), 0.5)).unique()
        tensor([0.5000])
    """

    kernel: int
    frames: int = 0
    pixels: int = 0
    edges: Edges = "wrap"

    def __call__(self, clips: Tensor) -> Tensor:
        """Return the clips with their detail moved."""
        low = low_frequencies(clips, self.kernel)
        high = clips - low
        for dim, by in ((2, self.frames), (3, self.pixels), (4, self.pixels)):
            high = moved(high, dim, by, self.edges)
        return high + low

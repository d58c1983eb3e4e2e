"""Halftoning by error diffusion."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from advvid.purifiers.base import Generators, Purifier, on_frames

# Floyd and Steinberg's error filter: how far right, how far down, and the share in sixteenths.
FILTER = ((1, 0, 7), (-1, 1, 3), (0, 1, 5), (1, 1, 1))


class Halftone(Purifier):
    """Turn every channel into dots whose density is its brightness (Lo & Patel, error diffusion; table of halftones).

    Pixels are quantised in raster order, and the error of each goes to those neighbours that are still to come, by
    Floyd and Steinberg's filter. What would leave the frame goes to the neighbours inside instead, in the same
    proportions, so that a frame's sum changes by no more than the error of its last pixel.

    A pixel needs its left neighbour and three above it, the farthest of which is one to the right. Those on a line that
    goes two pixels left for each pixel down do not need each other: such a line is computed at once, for all frames
    and channels, and ``W + 2 H - 2`` lines make a frame.

    Not differentiable; BPDA takes the identity, or a blur, which sees what the dots look like from afar:
    ``+purifier.halftone.surrogate._target_=advvid.purifiers.GaussianBlur``.

    Args:
        levels: of each channel.
        surrogate: see ``Purifier``.

    Shape:
        clips ``[B, 3, T, H, W]``; each channel of each frame by itself.

    Example:
        >>> Halftone()(torch.full((1, 3, 1, 1, 4), 0.5))[0, 0, 0]
        tensor([[0., 1., 0., 1.]])
    """

    differentiable = False

    def __init__(self, levels: Annotated[int, Ge(2), Le(256)] = 2, surrogate: nn.Module | None = None) -> None:
        super().__init__(surrogate)
        self.levels = levels

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return halftones."""
        return on_frames(clips, lambda frames: diffuse(frames, self.levels))


def diffuse(frames: Tensor, levels: int = 2) -> Tensor:
    """Quantise frames by error diffusion.

    Shape:
        frames ``[..., H, W]`` in [0, 1]; the result is alike.
    """
    height, width = frames.shape[-2:]
    # Pixels first: a line of pixels is then a slice with a constant step, and each of them a row in memory. A column
    # and a row more on either side take the shares that weigh nothing.
    wide = width + 2
    pixels = frames.reshape(-1, height, width).permute(1, 2, 0)
    work = torch.nn.functional.pad(pixels, (0, 0, 1, 1, 0, 1)).flatten(0, 1).contiguous() * (levels - 1)
    out = torch.zeros_like(work)
    shares = _shares(height, width).to(work).flatten(1).unsqueeze(-1)
    steps = [right + wide * down for right, down, _ in FILTER]
    for line in range(width + 2 * (height - 1)):
        top, bottom = max(0, -(-(line - width + 1) // 2)), min(height - 1, line // 2)
        first, last = top * wide + line - 2 * top + 1, bottom * wide + line - 2 * bottom + 1
        here = slice(first, last + 1, wide - 2)
        chosen = work[here].round().clamp_(0, levels - 1)
        error = work[here] - chosen
        out[here] = chosen
        for share, step in zip(shares, steps, strict=True):
            work[first + step : last + step + 1 : wide - 2].addcmul_(error, share[here])
    found = out.unflatten(0, (height + 1, wide))[:height, 1:-1] / (levels - 1)
    return found.permute(2, 0, 1).reshape(frames.shape)


def _shares(height: int, width: int) -> Tensor:
    """Return the share of each pixel's error that goes each way, zero where that is outside of the frame.

    Shape:
        ``[4, H + 1, W + 2]``.
    """
    shares = torch.zeros(len(FILTER), height + 1, width + 2, dtype=torch.float64)
    for way, (right, down, weight) in enumerate(FILTER):
        shares[way, : height - down, max(1, 1 - right) : width + 1 - max(0, right)] = weight
    return shares / shares.sum(dim=0).clamp(min=1)

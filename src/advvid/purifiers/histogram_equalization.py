"""Histogram equalisation."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from advvid.purifiers.base import Generators, Purifier, on_frames
from advvid.purifiers.grayscale import LUMA


class HistogramEqualization(Purifier):
    """Spread the grey levels of every frame so that each is about as frequent (Lo & Patel's list: contrast).

    The levels are spread as OpenCV does. Pillow and torchvision divide whole numbers, which leaves small frames as they
    are.

    Args:
        channels: ``luma`` equalises the brightness and leaves the colours; ``each`` treats every channel by itself.
        surrogate: see ``Purifier``.

    Shape:
        clips ``[B, 3, T, H, W]``, rounded to 8 bits on the way.
    """

    differentiable = False

    def __init__(self, channels: Literal["luma", "each"] = "luma", surrogate: nn.Module | None = None) -> None:
        super().__init__(surrogate)
        self.channels = channels

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return clips with equalised frames."""
        return on_frames(clips, _equalized if self.channels == "each" else _brightened)


def _equalized(frames: Tensor) -> Tensor:
    """Replace each level by the share of pixels below it, so that the darkest becomes 0 and the brightest 1."""
    levels = (frames * 255).round().clamp(0, 255).long().flatten(2)
    counts = torch.zeros(*levels.shape[:2], 256, device=frames.device, dtype=torch.int64)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    up_to = counts.cumsum(dim=2)
    darkest = up_to.gather(2, levels.amin(dim=2, keepdim=True))
    rest = (levels.shape[2] - darkest).clamp(min=1)
    spread = ((up_to - darkest).clamp(min=0).to(frames.dtype) / rest * 255).round() / 255
    # A flat picture has nothing to spread.
    flat = levels.amin(dim=2, keepdim=True) == levels.amax(dim=2, keepdim=True)
    found = torch.where(flat, levels.to(frames.dtype) / 255, spread.gather(2, levels))
    return found.view_as(frames)


def _brightened(frames: Tensor) -> Tensor:
    luma = (frames * frames.new_tensor(LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True)
    # The same amount on red, green and blue changes the luma alone, and leaves both differences of colour.
    return frames + _equalized(luma) - luma

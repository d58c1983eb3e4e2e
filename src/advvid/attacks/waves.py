"""Cosine waves in time and space: the basis of searches among smooth changes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def low_waves(clips: Tensor, share: float) -> list[Tensor]:
    """Return the cosine waves of low frequency along time, rows and columns, orthonormal.

    Args:
        clips: ``[B, C, T, H, W]``.
        share: part of the frequencies along each axis, the low ones; at least one is kept.

    Shape:
        three matrices ``[waves, T]``, ``[waves, H]`` and ``[waves, W]``.

    Example:
        >>> [tuple(wave.shape) for wave in low_waves(torch.zeros(1, 3, 8, 32, 32), 0.25)]
        [(2, 8), (8, 32), (8, 32)]
    """
    found = []
    for side in clips.shape[2:]:
        number = torch.arange(max(1, math.ceil(share * side)), device=clips.device)[:, None]
        wave = torch.cos(math.pi / side * (torch.arange(side, device=clips.device) + 0.5) * number)
        found.append((wave / wave.norm(dim=1, keepdim=True)).to(clips.dtype))
    return found

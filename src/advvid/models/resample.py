"""Frames and pixels in the number that a network wants, differentiably."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resample_frames(clips: Tensor, frames: int) -> Tensor:
    """Return clips of ``frames`` frames, taken at evenly spaced positions from the first to the last.

    Frames are chosen, never blended, so that motion stays sharp: a shorter clip leaves frames out (their gradient is
    zero, as they do not matter), a longer one repeats some.

    Shape:
        clips: ``[B, C, T, H, W]``; result: ``[B, C, frames, H, W]``.
    """
    present = clips.shape[2]
    if present == frames:
        return clips
    index = torch.linspace(0, present - 1, frames, device=clips.device).round().long()
    return clips.index_select(2, index)


def resize_frames(clips: Tensor, size: tuple[int, int]) -> Tensor:
    """Return clips with frames of ``size`` (height, width), bilinear, smoothed against aliasing where they shrink.

    Shape:
        clips: ``[B, C, T, H, W]``; result: ``[B, C, T, *size]``, inside the range of the input's values.
    """
    if tuple(clips.shape[-2:]) == size:
        return clips
    batch, channels, frames, height, width = clips.shape
    flat = clips.transpose(1, 2).reshape(batch * frames, channels, height, width)
    flat = F.interpolate(flat, size=size, mode="bilinear", align_corners=False, antialias=True)
    return flat.reshape(batch, frames, channels, *size).transpose(1, 2)

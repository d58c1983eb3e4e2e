"""Moving the pixels of frames along a flow field."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def warp(frames: Tensor, flow: Tensor) -> Tensor:
    """Let each pixel look up its colour where the flow points (DeepSAVA, sec. 3.3; Jaderberg et al. 2015).

    ``result(row, column) = frames(row + flow_row, column + flow_column)``, bilinear between pixels; places outside
    the frame take the nearest pixel of its edge. Differentiable in both arguments; zero flow is the identity up to
    float rounding.

    Shape:
        frames: ``[B, C, N, H, W]``. flow: ``[B, 2, N, H, W]`` in pixels, first along rows (down), then along columns
        (right). result: like ``frames``.

    Example:
        >>> frames = torch.rand(1, 3, 2, 8, 8)
        >>> torch.allclose(warp(frames, torch.zeros(1, 2, 2, 8, 8)), frames, atol=1e-6)
        True
    """
    batch, channels, count, height, width = frames.shape
    flat = frames.transpose(1, 2).reshape(batch * count, channels, height, width)
    moves = flow.transpose(1, 2).reshape(batch * count, 2, height, width)
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype).view(1, -1, 1) + moves[:, 0]
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype).view(1, 1, -1) + moves[:, 1]
    # grid_sample counts from -1 at the first pixel's centre to 1 at the last's.
    grid = torch.stack([columns * (2 / max(1, width - 1)) - 1, rows * (2 / max(1, height - 1)) - 1], dim=-1)
    moved = F.grid_sample(flat, grid.to(flat.dtype), mode="bilinear", padding_mode="border", align_corners=True)
    return moved.view(batch, count, channels, height, width).transpose(1, 2)


def explained(x: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the largest value at each place that a known flow explains.

    Where the flow is zero the pixel itself counts beside the moved one, which differs from it by the rounding of places.
    """
    moved = warp(x, flow)
    own = torch.where((flow == 0).all(dim=1, keepdim=True), x, moved)
    return torch.minimum(moved, own), torch.maximum(moved, own)

"""GEO-TRAP: one frame of noise, moved and resized at random from frame to frame, from scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from advvid.attacks.problem import Problem
from advvid.attacks.warped_noise import WarpedNoise
from advvid.threats.base import draw

# What a frame's warp is made of, by the numbers that are drawn for it.
DRAWN = {"translation": 2, "dilation": 1, "translation_dilation": 3, "similarity": 4, "affine": 6}


@dataclass(frozen=True, kw_only=True)
class GeoTrap(WarpedNoise):
    """GEO-TRAP (Li et al. 2021, NeurIPS, algorithm 1): a direction made of few numbers, from the model's scores alone.

    The search for a direction is made small: not a number for each value of the clip, but one frame of noise and a few
    numbers for each frame, which say how that frame is warped from it. Distance: l-inf.

    Args:
        transform: the warps: ``translation_dilation`` (the paper's best), ``translation``, ``dilation``, ``similarity``
            or ``affine``; their numbers are drawn from a standard normal, in halves of the frame's side.
            Other arguments: see ``WarpedNoise`` and ``ScoreAscent``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``aux["queries"]`` is
        int ``[B]``; ``gradient_calls`` is 0.

    Example:
        >>> GeoTrap(queries=1000).notes(5)[0]
        'GeoTrap sees scores and asks at most 1000 times about each clip.'
    """

    transform: Literal["translation_dilation", "translation", "dilation", "similarity", "affine"] = (
        "translation_dilation"
    )

    def _noise(self, problem: Problem, now: dict[str, Tensor]) -> Tensor:
        size, channels, frames, height, width = now["x"].shape
        frame = draw("randn", (channels, height, width), problem.generators, now["x"])
        numbers = draw("randn", (frames, DRAWN[self.transform]), problem.generators, now["x"])
        grid = F.affine_grid(
            self.matrices(numbers).flatten(0, 1), [size * frames, channels, height, width], align_corners=True
        )
        spread = frame[:, None].expand(-1, frames, -1, -1, -1).flatten(0, 1)
        warped = F.grid_sample(spread, grid, align_corners=True)
        return warped.view(size, frames, channels, height, width).transpose(1, 2)

    def matrices(self, numbers: Tensor) -> Tensor:
        """Return the warps ``[B, T, 2, 3]`` that drawn numbers ``[B, T, n]`` stand for."""
        if self.transform == "affine":
            return numbers.unflatten(-1, (2, 3))
        one, none = torch.ones_like(numbers[..., 0]), torch.zeros_like(numbers[..., 0])
        n = numbers.unbind(dim=-1)
        # A turn by the matrix [a, -b; b, a], and a shift.
        if self.transform == "similarity":
            a, b, across, down = n[0].cos() * n[1], n[0].sin() * n[1], n[2], n[3]
        else:
            a, b = one if self.transform == "translation" else n[0], none
            across, down = (none, none) if self.transform == "dilation" else n[-2:]
        return torch.stack([a, -b, across, b, a, down], dim=-1).unflatten(-1, (2, 3))

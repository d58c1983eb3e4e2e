"""Swirl: every frame turned about its centre, less the farther out."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional

from advvid.core.kinds import Numeral
from advvid.purifiers.base import Generators, Purifier, on_frames


class Swirl(Purifier):
    """Turn every frame about its centre by an angle that falls off with the distance (Lo & Patel's list).

    At a distance r the angle is ``strength * exp(-5 r / (radius ln 2))``, as image libraries have it; pixels are read
    bilinearly and gradients flow to where they were read.

    Args:
        strength: the angle at the centre in radians; negative turns the other way.
        radius: of the swirl in pixels; None for half the shorter side.

    Shape:
        clips ``[B, 3, T, H, W]``.

    Example:
        >>> clips = torch.rand(1, 3, 1, 9, 9)
        >>> torch.allclose(Swirl(strength=0)(clips), clips, atol=1e-6)
        True
    """

    def __init__(
        self,
        strength: Annotated[float | str, Numeral(), Ge(-20), Le(20)] = 1.0,
        radius: Annotated[float | str, Numeral(), Ge(0.1), Le(10_000)] | None = None,
    ) -> None:
        super().__init__()
        self.strength = float(strength)
        self.radius = None if radius is None else float(radius)

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return swirled clips; what would be read beyond the border is the border's."""
        grid = self._grid(*clips.shape[-2:]).to(clips)
        return on_frames(
            clips,
            lambda frames: functional.grid_sample(
                frames, grid.expand(len(frames), -1, -1, -1), padding_mode="border", align_corners=False
            ),
        )

    def _grid(self, height: int, width: int) -> Tensor:
        """Return where every pixel is read, ``[1, H, W, 2]`` as x and y from -1 to 1."""
        y = (torch.arange(height, dtype=torch.float64) - (height - 1) / 2).view(-1, 1)
        x = (torch.arange(width, dtype=torch.float64) - (width - 1) / 2).view(1, -1)
        distance = (x.square() + y.square()).sqrt()
        radius = min(height, width) / 2 if self.radius is None else self.radius
        angle = torch.atan2(y, x) + self.strength * (-5 * distance / (radius * math.log(2))).exp()
        return torch.stack([2 * distance * angle.cos() / width, 2 * distance * angle.sin() / height], dim=2)[None]

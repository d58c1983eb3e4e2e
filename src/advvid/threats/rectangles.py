"""Rectangles of a given size, the same in all frames or one in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advvid.core.errors import AdvvidError
from advvid.threats.base import Aux
from advvid.threats.regions import RegionThreat, within_rectangle


@dataclass(frozen=True)
class Rectangles(RegionThreat):
    """Squares of a given side anywhere in the frame (Wu et al. 2020; Lo & Patel's ROA).

    Args:
        side: of the square in pixels at 112 x 112, scaled by the shorter side / 112 and rounded to nearest.
        per_frame: every frame has its square at a place of its own, rather than one place for the clip.
    """

    side: float = 30.0
    per_frame: bool = False

    def __post_init__(self) -> None:
        if not self.side > 0:
            raise AdvvidError(f"side={self.side:g} makes a rectangle of 0 pixels: choose a side above 0")

    @property
    def where(self) -> str:
        """The region in words."""
        place = "in each frame" if self.per_frame else "at one place"
        return f"square of {self.side:g} px at 112 x 112 {place}"

    def extent(self, height: int, width: int) -> tuple[str, int]:
        """Return the square's side and its area."""
        side = self.pixels(height, width)
        return f"{side} x {side}", side**2

    def pixels(self, height: int, width: int) -> int:
        """Return the square's side in pixels of this frame, at least 1 and at most the frame's shorter side."""
        shorter = min(height, width)
        return min(shorter, max(1, int(self.side * shorter / 112 + 0.5)))

    def place(self, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
        """Return the mask of squares with these top left corners.

        Shape:
            top, left: int ``[B, F]`` with F = 1 or T; result: ``bool [B, 1, F, H, W]``.
        """
        side = self.pixels(height, width)
        y = torch.arange(height, device=top.device)
        x = torch.arange(width, device=top.device)
        rows = (y >= top[..., None]) & (y < top[..., None] + side)
        columns = (x >= left[..., None]) & (x < left[..., None] + side)
        return (rows[..., :, None] & columns[..., None, :])[:, None]

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Draw each square's place uniformly."""
        (height, width), side = x.shape[-2:], self.pixels(*x.shape[-2:])
        number = x.shape[2] if self.per_frame else 1
        top, left = (
            torch.stack([torch.randint(extent - side + 1, (number,), generator=g) for g in generators]).to(
                x.device, non_blocking=True
            )
            for extent in (height, width)
        )
        return {"mask": self.place(top, left, height, width)}

    def fits(self, changed: Tensor) -> Tensor:
        """Tell whether the changed pixels lie within one square, in each frame or over all frames together."""
        side = self.pixels(*changed.shape[-2:])
        if not self.per_frame:
            return within_rectangle(changed.any(dim=1), side, side)
        return within_rectangle(changed.flatten(0, 1), side, side).view(changed.shape[:2]).all(dim=1)

"""Sets that confine the change to a few pixels of each frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advvid.core.errors import AdvvidError
from advvid.threats.base import Aux, draw
from advvid.threats.regions import RegionThreat


@dataclass(frozen=True)
class Pixels(RegionThreat):
    """A number of pixels in each frame, all channels of each (an l0 ball; Lo & Patel's salt-and-pepper attack).

    Args:
        count: pixels at 112 x 112, scaled by area / 112^2, rounded to nearest and at least 1.
    """

    count: float = 100

    def __post_init__(self) -> None:
        if not self.count > 0:
            raise AdvvidError(f"count={self.count:g} leaves no pixel to change: choose a number above 0")

    @property
    def where(self) -> str:
        """The region in words."""
        return f"{self.count:g} pixels of each frame at 112 x 112"

    def extent(self, height: int, width: int) -> tuple[str, int]:
        """Return how many pixels of a frame may change."""
        number = self.number(height, width)
        return f"{number}", number

    def number(self, height: int, width: int) -> int:
        """Return how many pixels of a frame of this size may change."""
        area = height * width
        return min(area, max(1, int(self.count * area / 112**2 + 0.5)))

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Draw distinct pixels for each frame, uniformly."""
        frames, height, width = x.shape[2:]
        # The largest of independent numbers sit at distinct, uniformly drawn places.
        ticket = draw("rand", (frames, height * width), generators, x)
        chosen = ticket.topk(self.number(height, width), dim=-1).indices
        mask = torch.zeros_like(ticket, dtype=torch.bool).scatter_(-1, chosen, True)
        return {"mask": mask.view(len(x), 1, frames, height, width)}

    def fits(self, changed: Tensor) -> Tensor:
        """Tell whether no frame has more changed pixels than allowed."""
        return (changed.flatten(2).sum(dim=2) <= self.number(*changed.shape[-2:])).all(dim=1)

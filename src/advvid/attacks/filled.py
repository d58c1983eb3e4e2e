"""Gradient attacks on a region that begin with one plain colour there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from advvid.attacks.gradient import GradientAttack
from advvid.attacks.problem import Problem
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Numeral
from advvid.threats.base import Aux


@dataclass(frozen=True, kw_only=True)
class FilledAttack(GradientAttack):
    """A search that starts from a region of one colour, or at random with ``random_start``.

    Args:
        fill: value of every channel in the region at the start, in the units of the space (0 black, 0.5 grey).
    """

    random_start: bool = False
    fill: Annotated[float, Numeral()] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.space.low <= self.fill <= self.space.high:
            raise AdvvidError(
                f"fill={self.fill:g} is no value of a clip: choose one in [{self.space.low:g}, {self.space.high:g}]"
            )

    def _start(self, problem: Problem, aux: Aux) -> Tensor:
        return super()._start(problem, aux) if self.random_start else self.filled(problem.clips, aux)

    def filled(self, clips: Tensor, aux: Aux) -> Tensor:
        """Return the clips with the region at ``fill``, or as near to it as the budget allows."""
        return self.threat.project(torch.full_like(clips, self.fill), clips, aux)

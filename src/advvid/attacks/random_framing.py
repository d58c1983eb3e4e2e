"""Frames around the picture that know nothing of the model: the controls of adversarial framing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from advvid.attacks.base import Attack, AttackResult
from advvid.attacks.problem import Problem
from advvid.core.kinds import Positive
from advvid.threats.base import draw
from advvid.threats.regions import Border


@dataclass(frozen=True, kw_only=True)
class RandomFraming(Attack):
    """Random or black framing (RF and BF, Lo & Patel): a border of noise or of black pixels.

    Args:
        width: thickness in pixels at 112 x 112, scaled by side / 112.
        fill: ``random``, every value uniform over the space, or ``black``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1]; ``aux["mask"]`` is ``bool [B, 1, 1, H, W]``.
    """

    maximises: ClassVar[bool] = False
    control: ClassVar[bool] = True

    width: Positive = 10
    fill: Literal["random", "black"] = "random"

    @property
    def threat(self) -> Border:
        """The border of the given width, without a bound on its values."""
        return Border(self.space.width, self.space, width=self.width)

    def _search(self, problem: Problem) -> AttackResult:
        clips, generators = problem.clips, problem.generators
        aux = self.threat.sample(clips, generators)
        colour = torch.full_like(clips, self.space.low)
        if self.fill == "random":
            colour += self.space.width * draw("rand", clips.shape[1:], generators, clips)
        return AttackResult.unsearched(torch.where(aux["mask"], colour, clips), aux)

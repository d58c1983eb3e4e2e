"""Noise of the same budget: the control that no attack may fall behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from advvid.attacks.base import Attack, AttackResult
from advvid.attacks.problem import Problem
from advvid.core.kinds import NotNegativeNumber
from advvid.threats.balls import L2Ball, LinfBall, ball


@dataclass(frozen=True, kw_only=True)
class RandomNoise(Attack):
    """One random point of the norm ball, drawn without looking at the model.

    Args:
        eps: budget in [0, 1], a number or a fraction.
        norm: ``linf`` (uniform in the box) or ``l2`` (uniform in the ball).

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1]; returns clips of the same shape.
    """

    maximises: ClassVar[bool] = False
    control: ClassVar[bool] = True
    any_shape: ClassVar[bool] = True

    eps: NotNegativeNumber = "8/255"
    norm: Literal["linf", "rms", "l2", "l2_each"] = "linf"

    @property
    def threat(self) -> LinfBall | L2Ball:
        """The norm ball of radius eps, cut by the range of valid pixels."""
        return ball(self.norm, float(self.eps), self.space)

    def _search(self, problem: Problem) -> AttackResult:
        return AttackResult.unsearched(self.threat.random_start(problem.clips, problem.generators))

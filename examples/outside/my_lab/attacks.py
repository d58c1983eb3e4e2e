"""An attack of one's own: a frozen dataclass with a threat and a search."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from advvid.attacks.base import Attack, AttackResult
from advvid.attacks.problem import Problem
from advvid.core.kinds import ShareNumber
from advvid.threats.balls import LinfBall


@dataclass(frozen=True, kw_only=True)
class Brightness(Attack):
    """Make the whole clip brighter or darker by eps, whichever the model likes less.

    Distance: l-inf.

    Args:
        eps: budget in [0, 1], a number or a fraction.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape.
    """

    eps: ShareNumber = "8/255"

    @property
    def threat(self) -> LinfBall:
        """The l-inf ball of radius eps, cut by the range of valid pixels."""
        return LinfBall(float(self.eps), self.space)

    def _search(self, problem: Problem) -> AttackResult:
        clips, goal = problem.clips, problem.goal
        tried = [clips, *(self.threat.project(clips + sign * float(self.eps), clips) for sign in (-1, 1))]
        with torch.no_grad():
            losses = torch.stack([goal.loss(problem.model(candidate)) for candidate in tried])
        worst = losses.argmax(dim=0)
        return AttackResult.unsearched(torch.stack(tried)[worst, torch.arange(len(clips), device=clips.device)])

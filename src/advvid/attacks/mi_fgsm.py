"""MI-FGSM: iterated signed steps along a gradient that remembers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from advvid.attacks.pgd import PGD
from advvid.attacks.problem import Goal, Problem
from advvid.attacks.search import GradientRule, loss_gradient
from advvid.core.kinds import Count, NotNegative, Numeral
from advvid.threats.base import per_clip


@dataclass(frozen=True, kw_only=True)
class MIFGSM(PGD):
    """The momentum iterative method (Dong et al. 2018, algorithm 1), made for clips that fool other models too.

    Distance: l-inf or l2 over the whole clip.

    Args:
        momentum: weight of the remembered gradient (the paper's mu); 0 is the iterated FGSM.
        step_size: as in ``GradientAttack``, or ``eps/steps``, the paper's.
            Other arguments: see ``PGD``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape.

    Example:
        >>> MIFGSM(eps="10/255", steps=10).step == 1 / 255
        True
    """

    step_size: Annotated[float | str, Numeral(("optimal", "optimal/2", "eps", "eps/steps")), Ge(0)] = "eps/steps"
    steps: Count = 10
    random_start: bool = False
    momentum: NotNegative = 1.0

    def notes(self, classes: int) -> tuple[str, ...]:
        """Return that it is made for transfer: on the model that it is crafted on, PGD is stronger."""
        return (
            "MI-FGSM is a transfer attack: its momentum is for fooling other models, and PGD is stronger on the model itself.",
        )

    @property
    def step(self) -> float:
        """The step size as a number, after its rule."""
        return self.radius / max(self.steps, 1) if self.step_size == "eps/steps" else super().step

    def _gradient_rule(self, problem: Problem) -> GradientRule:
        memory = torch.zeros_like(problem.clips)
        slope = self._slope(problem, memory)

        def remembered(x_adv: Tensor, out: Tensor, goal: Goal, active: Tensor) -> Tensor:
            grad = slope(x_adv, out, goal, active)
            size = grad.flatten(1).norm(dim=1, p=1).clamp_min(1e-30)
            memory[active] = self.momentum * memory[active] + grad / per_clip(size, grad)
            return memory[active]

        return remembered

    def _slope(self, problem: Problem, memory: Tensor) -> GradientRule:
        """Return what is remembered: the loss's own gradient unless a subclass averages it.

        Args:
            problem: the clips.
            memory: what is remembered of all clips, written to in place.
        """
        return loss_gradient

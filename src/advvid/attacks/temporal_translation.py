"""Temporal translation: momentum along a gradient that is averaged over shifts in time."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from advvid.attacks.mi_fgsm import MIFGSM
from advvid.attacks.problem import Goal, Problem
from advvid.attacks.result import AttackResult
from advvid.attacks.search import GradientRule
from advvid.core.kinds import Whole


@dataclass(frozen=True, kw_only=True)
class TemporalTranslation(MIFGSM):
    """Temporal translation (Wei et al. 2022, AAAI, algorithm 1), for clips that fool other models.

    Models of videos look for the same motion at different frames. The gradient is therefore averaged over the clip and
    its copies, shifted cyclically by up to ``shift`` frames; each copy's gradient is shifted back before it is weighted.
    Distance: l-inf or l2 over the whole clip.

    Args:
        shift: largest shift in frames (the paper's L); 0 is MI-FGSM.
        weights: of the shifts: ``uniform``, ``linear`` (falls to none beyond the largest) or ``gaussian`` (of a third
            of the largest shift).
            Other arguments: see ``MIFGSM``; ``momentum=0`` is the paper's own form.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``gradient_calls`` counts every shift.

    Example:
        >>> TemporalTranslation(shift=1, weights="linear").kernel()
        [0.25, 0.5, 0.25]
    """

    shift: Whole = 2
    weights: Literal["uniform", "linear", "gaussian"] = "gaussian"

    def kernel(self) -> list[float]:
        """Return the weights of the shifts from ``-shift`` to ``shift``, which sum to 1."""
        rules = {
            "uniform": lambda s: 1.0,
            "linear": lambda s: 1 - abs(s) / (self.shift + 1),
            "gaussian": lambda s: math.exp(-((3 * s / max(self.shift, 1)) ** 2) / 2),
        }
        raw = [rules[self.weights](s) for s in range(-self.shift, self.shift + 1)]
        return [weight / sum(raw) for weight in raw]

    def notes(self, classes: int) -> tuple[str, ...]:
        """Return that it is made for transfer: on the model that it is crafted on, PGD is stronger."""
        return (
            "Temporal translation is a transfer attack: its shifts are for fooling other models, and PGD is stronger on the "
            "model itself.",
        )

    def _one_start(self, problem: Problem) -> AttackResult:
        result = super()._one_start(problem)
        return dataclasses.replace(result, gradient_calls=(2 * self.shift + 1) * result.gradient_calls)

    def _slope(self, problem: Problem, memory: Tensor) -> GradientRule:
        kernel = self.kernel()

        def averaged(x_adv: Tensor, out: Tensor, goal: Goal, active: Tensor) -> Tensor:
            grad = torch.zeros_like(x_adv)
            for shift, weight in zip(range(-self.shift, self.shift + 1), kernel, strict=True):
                # The unshifted clip has been through the model already.
                point = x_adv.detach().roll(shift, dims=2).requires_grad_() if shift else x_adv
                loss = goal.loss(problem.model(point) if shift else out).sum()
                (part,) = torch.autograd.grad(loss, point)
                grad += weight * part.roll(-shift, dims=2)
            return grad

        return averaged

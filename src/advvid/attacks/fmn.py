"""FMN: the smallest change in any of four norms, by descent in a ball that grows and shrinks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from advvid.attacks.hyperplane import lengths, scaled
from advvid.attacks.logits import margin
from advvid.attacks.problem import Goal
from advvid.attacks.shrinking import ShrinkingAttack, Step, annealed
from advvid.threats.base import AnyNorm, per_clip
from advvid.threats.few import keep_largest, onto_l1

# The norm in which a gradient tells how far the boundary is, for each norm of the change.
DUAL: dict[str, float] = {"linf": 1, "l2": 2, "l1": math.inf}
# The last gamma over the first (the authors: 0.001 after 0.05).
LAST_GAMMA = 1 / 50


@dataclass(frozen=True, kw_only=True)
class FMN(ShrinkingAttack):
    """Fast minimum-norm attack with adaptive norm constraints (Pintor et al. 2021, algorithm 1).

    Each step goes down the label's margin and back into a ball. Its radius is first the linearised distance to the
    boundary, a part ``gamma`` further, so that a linear model is fooled and not only met; once a clip was fooled, the
    radius shrinks by ``gamma`` where the clip fools, to at most the best change, and grows by ``gamma`` where it does
    not. In l0 it changes by at least one value. Distance: the norm over the whole clip; l0 counts values.

    Args:
        norm: ``linf``, ``l2``, ``l1`` or ``l0``. A ``step_size`` of 1 suits l2, one of 3 l1, one of 10 linf and l0.
            Other arguments: see ``ShrinkingAttack`` and ``MinimalNormAttack``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape.

    Example:
        >>> FMN(norm="l0", eps=50).threat.budget
        'l0 50: values of the clip'
    """

    norm: AnyNorm = "l2"

    def _first_radius(self, clips: Tensor) -> Tensor:
        return torch.full((len(clips),), 1.0 if self.norm == "l0" else 0.0, device=clips.device)

    def _objective(self, logits: Tensor, goal: Goal) -> Tensor:
        return margin(logits, goal.labels, goal.targets)

    def _radius(self, now: dict[str, Tensor], step: Step) -> Tensor:
        gamma = annealed(self.gamma, LAST_GAMMA, step.number, self.steps)
        radius, best = now["radius"], now["far"]
        if self.norm == "l0":
            smaller, larger = (radius - 1).minimum(radius * (1 - gamma)), (radius + 1).maximum(radius * (1 + gamma))
            return torch.where(step.hit, smaller.minimum(best), larger).floor().clamp_min(1)
        slope = step.gradient.flatten(1).norm(dim=1, p=DUAL[self.norm]).clamp_min(1e-30)
        to_boundary = lengths(now["change"], self.norm) + step.ahead.clamp_min(0) / slope
        outside = (1 + gamma) * torch.where(best.isfinite(), radius, to_boundary)
        return torch.where(step.hit, (radius * (1 - gamma)).minimum(best), outside)

    def _project(self, change: Tensor, radius: Tensor) -> Tensor:
        if self.norm == "l0":
            return torch.where(keep_largest(change, radius), change, 0.0)
        if self.norm == "l1":
            return onto_l1(change, radius)
        if self.norm == "linf":
            return change.clamp(-per_clip(radius, change), per_clip(radius, change))
        return scaled(change, (radius / lengths(change, "l2").clamp_min(1e-30)).clamp_max(1))

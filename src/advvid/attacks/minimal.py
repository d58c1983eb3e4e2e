"""What attacks share that look for the smallest change rather than the worst one within a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack, AttackResult
from advvid.attacks.hyperplane import lengths
from advvid.attacks.logits import best_label, margin, require_logits
from advvid.attacks.problem import Goal, Problem, Targeted
from advvid.core.kinds import NotNegativeNumber
from advvid.threats.balls import L2Ball, LinfBall, ball
from advvid.threats.base import AnyNorm, Norm, per_clip
from advvid.threats.few import L0Ball, L1Ball


@dataclass(frozen=True, kw_only=True)
class MinimalNormAttack(Attack):
    """An attack that looks for the smallest change that fools; with a budget it is judged like every other attack.

    Args:
        eps: budget, a number or a fraction, or None for any clip. A larger change is moved back into the budget, and
            the clean clip is returned where that neither fools nor raises the loss.
        norm: over the whole clip; the measure of "smallest".
        targeted: None, ``least_likely``, ``random`` or a class number; ``run(targets=...)`` gives targets instead.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``aux["norm"]`` is the
        norm of the smallest fooling change found, whatever the budget; infinite where none was found.
    """

    any_shape: ClassVar[bool] = True

    eps: NotNegativeNumber | None = None
    norm: AnyNorm = "l2"
    targeted: Targeted = None

    @property
    def radius(self) -> float:
        """The budget as a number; the whole space where there is none."""
        if self.eps is not None:
            return float(self.eps)
        return self.space.width if self.norm == "linf" else torch.inf

    @property
    def threat(self) -> LinfBall | L2Ball | L1Ball:
        """The norm ball of radius eps, or the whole space, cut by the range of valid pixels."""
        if self.norm == "l1" or self.norm == "l0":
            return (L1Ball if self.norm == "l1" else L0Ball)(self.radius, self.space)
        return ball(self.norm, self.radius, self.space)

    def _judge(self, problem: Problem, found: Tensor, steps: Tensor, calls: Tensor) -> AttackResult:
        """Measure what was found and return what the budget allows of it.

        Args:
            problem: the clean clips, and what counts as fooled.
            found: the smallest fooling clips, or the last tried ones where none fooled.
            steps: iterations per clip.
            calls: backward passes per clip.
        """
        clips, goal, model = problem.clips, problem.goal, problem.model
        found = self.space.clamp(found, clips)
        with torch.no_grad():
            fools = goal.reached(model(found))
            norm = torch.where(fools, lengths(found - clips, self.norm), torch.inf)
            near = torch.where(per_clip(norm <= self.radius, clips), found, self.threat.project(found, clips))
            out = model(near)
            keep = goal.reached(out) | (goal.loss(out) >= goal.loss(model(clips)))
            x_adv = torch.where(per_clip(keep, clips), near, clips)
        return AttackResult(x_adv, steps, calls, {"norm": norm})


def nearest_boundary(
    model: nn.Module, x: Tensor, goal: Goal, rivals: Tensor, norm: Norm
) -> tuple[Tensor, Tensor, Tensor]:
    """Linearise the model around ``x`` and return the decision boundary that is nearest to first order.

    Args:
        model: maps clips to logits.
        x: ``[B, 3, T, H, W]``.
        goal: away from the label, or towards a target.
        rivals: the classes whose boundary with the label is considered, int64 ``[B, n]``; the goal's targets go first.
        norm: in which nearness is measured, ``linf`` or ``l2``.

    Returns:
        The logits ``[B, K]``, how far the (best) label is ahead of the nearest rival ``[B]``, and the gradient of that gap,
        like ``x``. One backward pass per rival.
    """
    point = x.detach().requires_grad_()
    logits = require_logits(model(point), goal.labels, "a minimal-norm attack", several=True)
    if goal.targets is None:
        gaps = best_label(logits, goal.labels)[:, None] - logits.gather(1, rivals)
    else:
        gaps = margin(logits, goal.labels, goal.targets)[:, None]
    nearest = torch.full_like(gaps[:, 0], torch.inf)
    gap, normal = torch.zeros_like(nearest), torch.zeros_like(x)
    for rival in range(gaps.shape[1]):
        (grad,) = torch.autograd.grad(gaps[:, rival].sum(), point, retain_graph=rival + 1 < gaps.shape[1])
        dual = grad.flatten(1).norm(dim=1, p=2 if norm == "l2" else 1).clamp_min(1e-30)
        far = gaps[:, rival].detach().abs() / dual
        nearer = far < nearest
        nearest = torch.where(nearer, far, nearest)
        gap = torch.where(nearer, gaps[:, rival].detach(), gap)
        normal = torch.where(per_clip(nearer, x), grad, normal)
    return logits.detach(), gap, normal

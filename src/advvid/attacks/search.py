"""The iterated gradient search that PGD and its relatives share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from advvid.attacks.problem import Goal, Problem
from advvid.attacks.result import AttackResult
from advvid.core.profiling import BACKWARD, FORWARD, scope
from advvid.threats.base import Aux, Boxed, Threat, per_clip

# What a search follows: the gradient, from the iterates, the model's output for them, the goal of these clips and their
# rows in the batch.
GradientRule = Callable[[Tensor, Tensor, Goal, Tensor], Tensor]


def loss_gradient(x_adv: Tensor, out: Tensor, goal: Goal, active: Tensor) -> Tensor:
    """Return the gradient of the goal's loss."""
    return torch.autograd.grad(goal.loss(out).sum(), x_adv)[0]


Keep = Literal["fooled", "last"]

# Steps of a search by gradients on a GPU after which it looks who has left, which makes the host wait; a step that a fooled
# clip stays on costs less than a wait at each.
LOOK_EVERY = 4


def looks_now(step: int, device: torch.device, every: int = LOOK_EVERY) -> bool:
    """Tell whether a search looks at this step which clips have left: at each on a CPU, where looking costs nothing.

    Example:
        >>> [step for step in range(9) if looks_now(step, torch.device("cuda"))]
        [3, 7]
    """
    return device.type == "cpu" or step % every == every - 1


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """How a gradient search goes.

    Args:
        step_size: length of a step, in the threat's norm.
        steps: iterations.
        early_exit: a clip that is fooled leaves the batch with its first fooling iterate.
        keep: ``last`` returns the last iterate, as the equation says; ``fooled`` does too unless only an earlier
            iterate fooled the model, which is then returned. Verdicts under ``fooled`` do not depend on ``early_exit``.
        gradient: what a step follows; the loss's own gradient unless an attack averages or remembers gradients.
    """

    step_size: float
    steps: int
    early_exit: bool
    keep: Keep
    gradient: GradientRule = loss_gradient


def gradient_search(problem: Problem, start: Tensor, threat: Threat, aux: Aux, ascent: Ascent) -> AttackResult:
    """Repeat ``x <- project(ascend(x, gradient))`` (Kinfu & Vidal, eq. 3 and 7).

    Args:
        problem: the clips and what is raised.
        start: where each search begins, inside the threat.
        threat: the allowed set, with the choices ``aux`` of each clip.
        aux: see ``Threat.sample``.
        ascent: how the search goes.
    """
    clips, steps, early_exit = problem.clips, ascent.steps, ascent.early_exit
    earlier_counts = ascent.keep == "fooled" and not early_exit
    size = len(clips)
    # Only where clips leave early is there a result to keep beside the iterates.
    result, x_adv = start.clone() if early_exit or steps == 0 else start, start
    # The bounds of a box are worked out once, and the new iterate is clamped where it stands.
    box = threat.box(clips) if isinstance(threat, Boxed) else None
    active = torch.arange(size, device=clips.device)
    taken = torch.full((size,), steps, device=clips.device)
    calls = torch.zeros_like(taken)
    earlier, earlier_at = start, torch.full_like(taken, -1)
    clean, here, choices = clips, problem.goal, aux
    gone = torch.zeros(size, dtype=torch.bool, device=clips.device)  # fooled before, and not taken out yet
    for step in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        with scope(FORWARD):
            out = problem.model(x_adv)
        hit = here.reached(out)
        left = active
        if early_exit:
            fresh, gone = hit & ~gone, gone | hit
            looks = looks_now(step, clips.device)
            left = (~gone).nonzero().squeeze(1) if looks else active
            if len(left) < len(active) or not looks:
                result[active] = torch.where(per_clip(fresh, x_adv), x_adv.detach(), result[active])
                taken[active] = torch.where(fresh, step, taken[active])
            if len(left) == 0:
                return AttackResult(result, taken, calls, aux)
        elif earlier_counts:
            earlier = torch.where(per_clip(hit, x_adv), x_adv.detach(), earlier)
            earlier_at = torch.where(hit, step, earlier_at)
        with scope(BACKWARD):
            grad = ascent.gradient(x_adv, out, here, active)
        # A clip that leaves now needs no gradient, whatever its neighbours do.
        calls[active] += (~gone).long()
        with torch.no_grad():
            ahead = threat.ascend(x_adv, grad, ascent.step_size, choices)
            x_adv = threat.project(ahead, clean, choices) if box is None else ahead.clamp_(*box)
            if len(left) < len(active):
                active, x_adv, clean, here = active[left], x_adv[left], clean[left], here.select(left)
                gone = gone[left]
                choices = {name: value[left] for name, value in choices.items()}
                box = None if box is None else (box[0][left], box[1][left])
    if early_exit and (len(active) < size or clips.is_cuda):
        result[active] = torch.where(per_clip(gone, x_adv), result[active], x_adv.detach())
    elif steps:
        result = x_adv.detach()
    if earlier_counts and bool((earlier_at >= 0).any()):
        back = (earlier_at >= 0) & ~problem.fooled(result)
        result = torch.where(per_clip(back, result), earlier, result)
        taken = torch.where(back, earlier_at, taken)
    return AttackResult(result, taken, calls, aux)


def worst_of(problem: Problem, first: AttackResult, second: AttackResult) -> AttackResult:
    """Keep each clip's stronger result: one that fools beats one that does not, then the higher loss wins."""
    goal = problem.goal
    with torch.no_grad():
        out_a, out_b = problem.model(first.x_adv), problem.model(second.x_adv)
        hit_a, hit_b = goal.reached(out_a), goal.reached(out_b)
        better = (hit_b & ~hit_a) | ((hit_a == hit_b) & (goal.loss(out_b) > goal.loss(out_a)))
    return first.merge(second, better)

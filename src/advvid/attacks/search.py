"""The iterated gradient search that PGD and its relatives share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from advvid.attacks.base import AttackResult
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Whole
from advvid.core.profiling import BACKWARD, FORWARD, scope
from advvid.tasks.base import Task
from advvid.threats.base import Aux, Boxed, Threat, per_clip

# See ``pick_targets`` and ``gradient_search``.
Targeted = Literal["least_likely", "random"] | Whole | None
Keep = Literal["fooled", "last"]


@dataclass(frozen=True)
class Goal:
    """What the search raises, and when it has succeeded: away from the label, or towards a target.

    Shape:
        out: the model's output ``[B, ...]``; labels, targets: ``[B]``.
    """

    task: Task
    labels: Tensor
    targets: Tensor | None = None

    def loss(self, out: Tensor) -> Tensor:
        """Return what is to be raised, ``[B]``: the label's loss, or minus the target's."""
        if self.targets is None:
            return self.task.loss(out, self.labels)
        return -self.task.loss(out, self.targets)

    def reached(self, out: Tensor) -> Tensor:
        """Tell which clips are fooled, ``bool [B]``; never where the task has no right answer."""
        if self.targets is None:
            right = self.task.correct(out, self.labels)
            return torch.zeros(len(out), dtype=torch.bool, device=out.device) if right is None else ~right
        hit = self.task.correct(out, self.targets)
        return torch.zeros(len(out), dtype=torch.bool, device=out.device) if hit is None else hit

    def select(self, index: Tensor) -> Goal:
        """Return the goal of some of the clips."""
        return Goal(self.task, self.labels[index], None if self.targets is None else self.targets[index])


def pick_targets(
    rule: Targeted, model: nn.Module, clips: Tensor, labels: Tensor, draw: Callable[[int], Tensor]
) -> Tensor | None:
    """Choose the answers of a targeted attack.

    Args:
        rule: None (untargeted), ``least_likely`` (the clean clip's smallest logit), ``random`` (any other class), or the
            number of a class, at which clips of that class itself are led to the next one.
        model: maps clips to logits.
        clips: ``[B, 3, T, H, W]``.
        labels: int64 ``[B]``; never chosen.
        draw: gives one whole number below its argument per clip.
    """
    if rule is None:
        return None
    with torch.no_grad():
        logits = model(clips)
    classes = logits.shape[1]
    if isinstance(rule, int):
        if rule >= classes:
            raise AdvvidError(f"targeted={rule} is no class: the model knows 0 to {classes - 1}")
        return torch.where(labels == rule, (rule + 1) % classes, torch.full_like(labels, rule))
    if rule == "least_likely":
        return logits.scatter(1, labels[:, None], torch.inf).argmin(dim=1)
    return (labels + 1 + draw(classes - 1)) % classes


def make_goal(
    rule: Targeted,
    model: nn.Module,
    clips: Tensor,
    labels: Tensor,
    generators: Sequence[torch.Generator],
    targets: Tensor | None,
    task: Task,
) -> Goal:
    """Return what a search raises: given targets go before the attack's own ``targeted`` rule.

    Raises:
        AdvvidError: for targets where clips have several labels.
    """
    if labels.dtype == torch.bool and (rule is not None or targets is not None):
        raise AdvvidError(
            "a targeted attack needs data with one label per clip: leave targeted=null for several labels"
        )

    def draw(high: int) -> Tensor:
        return torch.stack([torch.randint(high, (), generator=g) for g in generators]).to(labels.device)

    return Goal(task, labels, pick_targets(rule, model, clips, labels, draw) if targets is None else targets)


# What a search follows: the gradient, from the iterates, the model's output for them, the goal of these clips and their
# rows in the batch.
GradientRule = Callable[[Tensor, Tensor, Goal, Tensor], Tensor]


def loss_gradient(x_adv: Tensor, out: Tensor, goal: Goal, active: Tensor) -> Tensor:
    """Return the gradient of the goal's loss."""
    return torch.autograd.grad(goal.loss(out).sum(), x_adv)[0]


def gradient_search(
    model: nn.Module,
    clips: Tensor,
    start: Tensor,
    goal: Goal,
    threat: Threat,
    aux: Aux,
    *,
    step_size: float,
    steps: int,
    early_exit: bool,
    keep: str,
    gradient: GradientRule = loss_gradient,
) -> AttackResult:
    """Repeat ``x <- project(ascend(x, gradient))`` (Kinfu & Vidal, eq. 3 and 7).

    Args:
        model: maps clips to the task's output; frozen by the caller.
        clips: clean clips ``[B, 3, T, H, W]``.
        start: where each search begins, inside the threat.
        goal: what is raised.
        threat: the allowed set, with the choices ``aux`` of each clip.
        aux: see ``Threat.sample``.
        step_size: length of a step, in the threat's norm.
        steps: iterations.
        early_exit: a clip that is fooled leaves the batch with its first fooling iterate.
        keep: ``last`` returns the last iterate, as the equation says; ``fooled`` does too unless only an earlier
            iterate fooled the model, which is then returned. Verdicts under ``fooled`` do not depend on ``early_exit``.
        gradient: what a step follows; the loss's own gradient unless an attack averages or remembers gradients.
    """
    size = len(clips)
    # Only where clips leave early is there a result to keep beside the iterates.
    result, x_adv = start.clone() if early_exit or steps == 0 else start, start
    # The bounds of a box are worked out once, and the new iterate is clamped where it stands.
    box = threat.box(clips) if isinstance(threat, Boxed) else None
    active = torch.arange(size, device=clips.device)
    taken = torch.full((size,), steps, device=clips.device)
    calls = torch.zeros_like(taken)
    earlier, earlier_at = start, torch.full_like(taken, -1)
    clean, here, choices = clips, goal, aux
    for step in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        with scope(FORWARD):
            out = model(x_adv)
        hit = here.reached(out)
        leaving = early_exit and bool(hit.any())
        if leaving:
            done = active[hit]
            result[done] = x_adv.detach()[hit]
            taken[done] = step
            if bool(hit.all()):
                return AttackResult(result, taken, calls, aux)
        elif keep == "fooled" and not early_exit:
            earlier = torch.where(per_clip(hit, x_adv), x_adv.detach(), earlier)
            earlier_at = torch.where(hit, step, earlier_at)
        with scope(BACKWARD):
            grad = gradient(x_adv, out, here, active)
        # A clip that leaves now needs no gradient, whatever its neighbours do.
        calls[active] += (~hit).long() if early_exit else 1
        with torch.no_grad():
            ahead = threat.ascend(x_adv, grad, step_size, choices)
            x_adv = threat.project(ahead, clean, choices) if box is None else ahead.clamp_(*box)
            if leaving:
                left = (~hit).nonzero().squeeze(1)
                active, x_adv, clean, here = active[left], x_adv[left], clean[left], here.select(left)
                choices = {name: value[left] for name, value in choices.items()}
                box = None if box is None else (box[0][left], box[1][left])
    if len(active) < size:
        result[active] = x_adv.detach()
    elif steps:
        result = x_adv.detach()
    if keep == "fooled" and not early_exit and bool((earlier_at >= 0).any()):
        with torch.no_grad():
            back = (earlier_at >= 0) & ~goal.reached(model(result))
        result = torch.where(per_clip(back, result), earlier, result)
        taken = torch.where(back, earlier_at, taken)
    return AttackResult(result, taken, calls, aux)


def worst_of(model: nn.Module, goal: Goal, first: AttackResult, second: AttackResult) -> AttackResult:
    """Keep each clip's stronger result: one that fools beats one that does not, then the higher loss wins."""
    with torch.no_grad():
        out_a, out_b = model(first.x_adv), model(second.x_adv)
        hit_a, hit_b = goal.reached(out_a), goal.reached(out_b)
        better = (hit_b & ~hit_a) | ((hit_a == hit_b) & (goal.loss(out_b) > goal.loss(out_a)))
    aux = {k: torch.where(per_clip(better, v), second.aux[k], v) for k, v in first.aux.items()}
    return AttackResult(
        torch.where(per_clip(better, first.x_adv), second.x_adv, first.x_adv),
        torch.where(better, second.steps, first.steps),
        first.gradient_calls + second.gradient_calls,
        aux,
    )

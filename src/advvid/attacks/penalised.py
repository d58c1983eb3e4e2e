"""The search of sparse attacks: Adam on a weighted penalty minus an adversarial term, frames of a clip at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from advvid.attacks.base import AttackResult
from advvid.attacks.flicker import Descent
from advvid.attacks.logits import require_logits
from advvid.attacks.search import Goal
from advvid.attacks.selection import Selection
from advvid.threats.base import Aux, per_clip

Variables = dict[str, Tensor]


class Change(Protocol):
    """What is done to the selected frames, as a differentiable function of some variables.

    Shape:
        frames, changed: ``[B, 3, N, H, W]``. Variables have the batch first.
    """

    def start(self, frames: Tensor) -> Variables:
        """Return the variables of the first iterate."""

    def step_sizes(self) -> dict[str, float]:
        """Return Adam's learning rate of each variable."""

    def apply(self, frames: Tensor, variables: Variables) -> Tensor:
        """Return the changed frames, inside the space."""

    def penalty(self, changed: Tensor, frames: Tensor, variables: Variables, selection: Selection) -> Tensor:
        """Return what is to stay small, ``[B]``."""

    def tidy(self, frames: Tensor, variables: Variables) -> Variables:
        """Return the variables with what has no effect taken off, such as a value beyond the range."""

    def describe(self, clips: Tensor, variables: Variables, selection: Selection) -> Aux:
        """Return what the threat's check wants to know."""


@dataclass(frozen=True)
class Found:
    """A search's result, with what ranks it against the search on other frames.

    Shape:
        objective: ``[B]``, weighted penalty minus adversarial term at the last iterate. fooled: ``bool [B]``.
    """

    result: AttackResult
    objective: Tensor
    fooled: Tensor

    def merge(self, rows: Tensor, other: Found) -> Found:
        """Return this with ``other``, the same clips ``rows`` searched again, where that is better.

        One that fools beats one that does not, then the lower objective wins. Gradient calls add up in any case.
        """
        fooled, objective = self.fooled[rows], self.objective[rows]
        better = (other.fooled & ~fooled) | ((other.fooled == fooled) & (other.objective < objective))

        def put(own: Tensor, new: Tensor) -> Tensor:
            return own.index_copy(0, rows, torch.where(per_clip(better, new), new, own[rows]))

        mine, its = self.result, other.result
        result = AttackResult(
            put(mine.x_adv, its.x_adv),
            put(mine.steps, its.steps),
            mine.gradient_calls.index_add(0, rows, its.gradient_calls),
            {name: put(value, its.aux[name]) for name, value in mine.aux.items()},
        )
        return Found(result, put(self.objective, other.objective), put(self.fooled, other.fooled))


def adversarial_term(out: Tensor, goal: Goal, kind: str, attack: str) -> Tensor:
    """Return what the search raises, ``[B]``.

    Args:
        out: the model's output.
        goal: away from a label or towards a target.
        kind: ``other`` is log(1 - p_label), as in the published code: its gradient does not vanish however sure the
            model is. ``task`` is the task's own loss, such as the squared error of a predicted frame. Towards a target
            both are minus the target's loss.
        attack: named in errors.
    """
    if kind == "task" or goal.targets is not None:
        return goal.loss(out)
    logits = require_logits(out, goal.labels, attack)
    others = logits.scatter(1, goal.labels[:, None], -torch.inf)
    return others.logsumexp(dim=1) - logits.logsumexp(dim=1)


def penalised_search(
    model: nn.Module,
    clips: Tensor,
    selection: Selection,
    goal: Goal,
    change: Change,
    raised: Callable[[Tensor, Goal], Tensor],
    *,
    weight: float,
    steps: int,
    early_exit: bool,
    distance: Callable[[Tensor, Tensor], Tensor],
    limit: float | None,
    at_limit: str = "stop",
) -> Found:
    """Minimise ``weight * penalty - adversarial term`` over the variables of a change (DeepSAVA, eq. 3, alg. 2).

    Under ``at_limit=stop`` a clip's search ends when its distance exceeds the limit (the paper's budget mode), and
    returns the last iterate inside; under ``project`` its variables are scaled back to the limit and it goes on.
    Once an iterate fools the model, only iterates that fool replace it; under ``early_exit`` the clip leaves there.

    Args:
        model: maps clips to the task's output; frozen by the caller.
        clips: clean clips ``[B, 3, T, H, W]``.
        selection: the frames that may change.
        goal: when a clip is fooled.
        change: how frames may change.
        raised: the adversarial term of an output, ``[B]``.
        weight: of the penalty (lambda).
        steps: Adam updates.
        early_exit: see above; the verdicts are the same without.
        distance: measures (changed frames, frames), ``[B]``.
        limit: largest distance, or None.
        at_limit: ``stop`` or ``project``.
    """
    size, device = len(clips), clips.device
    frames, whole = selection.take(clips), selection
    variables = change.start(frames)
    adam = {name: Descent(rate, True, torch.zeros_like(variables[name])) for name, rate in change.step_sizes().items()}
    best = {name: value.clone() for name, value in variables.items()}
    objective = torch.full((size,), torch.inf, device=device)
    fooled = torch.zeros(size, dtype=torch.bool, device=device)
    taken = torch.zeros(size, dtype=torch.int64, device=device)
    calls = torch.zeros_like(taken)
    active = torch.arange(size, device=device)
    clean, here = clips, goal
    for step in range(steps + 1):
        last = step == steps
        variables = {name: value.detach().requires_grad_(not last) for name, value in variables.items()}
        changed = change.apply(frames, variables)
        out = model(selection.put(clean, changed))
        loss = weight * change.penalty(changed, frames, variables, selection) - raised(out, here)
        hit = here.reached(out)
        inside = torch.ones_like(hit)
        if limit is not None:
            with torch.no_grad():
                inside = distance(changed, frames) <= limit
        better = inside & (hit | ~fooled[active])
        for name, value in variables.items():
            best[name][active] = torch.where(per_clip(better, value), value.detach(), best[name][active])
        taken[active] = torch.where(better, step, taken[active])
        fooled[active] |= inside & hit
        objective[active] = torch.where(inside, loss.detach(), objective[active])
        if last:
            break
        done = ~inside | hit if early_exit else ~inside
        left = (~done).nonzero().squeeze(1)
        if len(left) == 0:
            break
        gradients = torch.autograd.grad(loss.sum(), list(variables.values()))
        calls[active[left]] += 1
        with torch.no_grad():
            pairs = zip(variables.items(), gradients, strict=True)
            variables = change.tidy(frames, {n: adam[n](v.detach(), g) for (n, v), g in pairs})
            if len(left) < len(active):
                variables = {name: value[left] for name, value in variables.items()}
                for descend in adam.values():
                    descend.select(left)
                active, frames, clean = active[left], frames[left], clean[left]
                here, selection = here.select(left), selection.rows(left)
            if limit is not None and at_limit == "project":
                variables = _scaled_back(change, frames, variables, distance, limit)
    with torch.no_grad():
        x_adv = whole.put(clips, change.apply(whole.take(clips), best))
        aux = {"frames": whole.mask(), **change.describe(clips, best, whole)}
    return Found(AttackResult(x_adv, taken, calls, aux), objective, fooled)


def _scaled_back(
    change: Change,
    frames: Tensor,
    variables: Variables,
    distance: Callable[[Tensor, Tensor], Tensor],
    limit: float,
) -> Variables:
    """Scale each clip's variables down until the change is inside the limit; zero variables change nothing."""
    low = torch.zeros(len(frames), device=frames.device)
    high = torch.ones_like(low)
    inside = distance(change.apply(frames, variables), frames) <= limit
    for _ in range(10):
        middle = (low + high) / 2
        tried = {name: per_clip(middle, value) * value for name, value in variables.items()}
        within = distance(change.apply(frames, tried), frames) <= limit
        low, high = torch.where(within, middle, low), torch.where(within, high, middle)
    share = torch.where(inside, 1.0, low)
    return {name: per_clip(share, value) * value for name, value in variables.items()}

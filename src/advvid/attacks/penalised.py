"""The search of sparse attacks: Adam on a weighted penalty minus an adversarial term, frames of a clip at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from advvid.attacks.flicker import Descent
from advvid.attacks.logits import require_logits
from advvid.attacks.problem import Goal, Problem
from advvid.attacks.result import AttackResult
from advvid.attacks.search import looks_now
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
        objective: ``[B]``, weighted penalty minus adversarial term at the iterate that is kept. fooled: ``bool [B]``.
    """

    result: AttackResult
    objective: Tensor
    fooled: Tensor

    def select(self, rows: Tensor) -> Found:
        """Return what was found for some of the clips."""
        return Found(self.result.select(rows), self.objective[rows], self.fooled[rows])

    def merge(self, rows: Tensor, other: Found) -> Found:
        """Return this with ``other``, the same clips ``rows`` searched again, where that is better.

        One that fools beats one that does not, then the lower objective wins. Gradient calls add up in any case.
        """
        fooled, objective = self.fooled[rows], self.objective[rows]
        better = (other.fooled & ~fooled) | ((other.fooled == fooled) & (other.objective < objective))

        def put(own: Tensor, new: Tensor) -> Tensor:
            return own.index_copy(0, rows, torch.where(per_clip(better, new), new, own[rows]))

        result = self.result.put(rows, self.result.select(rows).merge(other.result, better))
        return Found(result, put(self.objective, other.objective), put(self.fooled, other.fooled))


def adversarial_term(out: Tensor, goal: Goal, kind: Literal["other", "task"], attack: str) -> Tensor:
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


@dataclass(frozen=True, kw_only=True)
class PenalisedDescent:
    """How a penalised search goes.

    Args:
        raised: the adversarial term of an output, ``[B]``.
        weight: of the penalty (lambda).
        steps: Adam updates.
        early_exit: a clip leaves where it is fooled; the verdicts are the same without.
        distance: measures (changed frames, frames), ``[B]``.
        limit: largest distance, or None.
        at_limit: ``stop`` or ``project``; see ``penalised_search``.
        growth: part by which a clip's weight rises after each iterate that fools, and falls after each other one.
    """

    raised: Callable[[Tensor, Goal], Tensor]
    weight: float
    steps: int
    early_exit: bool
    distance: Callable[[Tensor, Tensor], Tensor]
    limit: float | None
    at_limit: Literal["stop", "project"] = "stop"
    growth: float = 0.0

    def far(self, changed: Tensor, frames: Tensor) -> Tensor:
        """Return the distance of each clip ``[B]``, zero where nothing asks for it."""
        if self.limit is None and self.early_exit:
            return torch.zeros(len(frames), device=frames.device)
        with torch.no_grad():
            return self.distance(changed, frames)

    def inside(self, changed: Tensor, frames: Tensor) -> Tensor:
        """Tell which clips are within the limit, ``bool [B]``."""
        assert self.limit is not None
        return self.far(changed, frames) <= self.limit


def penalised_search(problem: Problem, selection: Selection, change: Change, descent: PenalisedDescent) -> Found:
    """Minimise ``weight * penalty - adversarial term`` over the variables of a change (DeepSAVA, eq. 3, alg. 2).

    Under ``at_limit=stop`` the step that would leave the limit is cut to what fits, and the clip's search ends there (the
    paper's budget mode); under ``project`` its variables are scaled back to the limit and it goes on.
    Once an iterate fools the model, only a nearer one that fools replaces it; under ``early_exit`` the clip leaves there.

    Args:
        problem: the clips, and when one is fooled.
        selection: the frames that may change.
        change: how frames may change.
        descent: how the search goes.
    """
    clips, steps = problem.clips, descent.steps
    size, device = len(clips), clips.device
    frames, whole = selection.take(clips), selection
    variables = change.start(frames)
    none = {name: torch.zeros_like(value) for name, value in variables.items()}
    variables, _ = _cut(change, frames, variables, none, descent)
    adam = {name: Descent(rate, True, none[name].clone()) for name, rate in change.step_sizes().items()}
    best = {name: value.clone() for name, value in variables.items()}
    objective = torch.full((size,), torch.inf, device=device)
    fooled = torch.zeros(size, dtype=torch.bool, device=device)
    nearest = torch.full((size,), torch.inf, device=device)
    weights = torch.full((size,), descent.weight, device=device)
    taken = torch.zeros(size, dtype=torch.int64, device=device)
    calls = torch.zeros_like(taken)
    ended = torch.zeros_like(fooled)  # at the limit
    active = torch.arange(size, device=device)
    clean, here = clips, problem.goal
    gone = torch.zeros(size, dtype=torch.bool, device=device)  # has left, and is not taken out yet
    for step in range(steps + 1):
        last = step == steps
        variables = {name: value.detach().requires_grad_(not last) for name, value in variables.items()}
        changed = change.apply(frames, variables)
        out = problem.model(selection.put(clean, changed))
        loss = weights[active] * change.penalty(changed, frames, variables, selection) - descent.raised(out, here)
        hit = here.reached(out) & ~gone
        if descent.growth:
            weights[active] *= torch.where(hit, 1 + descent.growth, 1 / (1 + descent.growth))
        far = descent.far(changed, frames)
        better = torch.where(hit, far < nearest[active], ~fooled[active]) & ~gone
        for name, value in variables.items():
            best[name][active] = torch.where(per_clip(better, value), value.detach(), best[name][active])
        taken[active] = torch.where(better, step, taken[active])
        fooled[active] |= hit
        nearest[active] = torch.where(better & hit, far, nearest[active])
        objective[active] = torch.where(better, loss.detach(), objective[active])
        if last:
            break
        gone = gone | ended[active] | hit if descent.early_exit else gone | ended[active]
        left = (~gone).nonzero().squeeze(1) if looks_now(step, device) else active
        if len(left) == 0:
            break
        gradients = torch.autograd.grad(loss.sum(), list(variables.values()))
        calls[active] += (~gone).long()
        with torch.no_grad():
            pairs = zip(variables.items(), gradients, strict=True)
            before = {name: value.detach() for name, value in variables.items()}
            variables = change.tidy(frames, {n: adam[n](v.detach(), g) for (n, v), g in pairs})
            if len(left) < len(active):
                variables, before = ({name: value[left] for name, value in v.items()} for v in (variables, before))
                for own in adam.values():
                    own.select(left)
                active, frames, clean, gone = active[left], frames[left], clean[left], gone[left]
                here, selection = here.select(left), selection.rows(left)
            if descent.at_limit == "project":
                before = {name: torch.zeros_like(value) for name, value in before.items()}
            variables, cut = _cut(change, frames, variables, before, descent)
            ended[active] = cut & (descent.at_limit == "stop")
    with torch.no_grad():
        x_adv = whole.put(clips, change.apply(whole.take(clips), best))
        aux = {"frames": whole.mask(), **change.describe(clips, best, whole)}
    return Found(AttackResult(x_adv, taken, calls, aux), objective, fooled)


def _cut(
    change: Change, frames: Tensor, variables: Variables, inner: Variables, descent: PenalisedDescent
) -> tuple[Variables, Tensor]:
    """Draw each clip's variables towards ``inner``, which is inside the limit, until they are; tell which clips had to."""
    if descent.limit is None:
        return variables, torch.zeros(len(frames), dtype=torch.bool, device=frames.device)
    cut = ~descent.inside(change.apply(frames, variables), frames)
    low, high = torch.zeros(len(frames), device=frames.device), torch.ones(len(frames), device=frames.device)

    def between(share: Tensor) -> Variables:
        return {n: inner[n] + per_clip(share, value) * (value - inner[n]) for n, value in variables.items()}

    for _ in range(12):
        middle = (low + high) / 2
        within = descent.inside(change.apply(frames, between(middle)), frames)
        low, high = torch.where(within, middle, low), torch.where(within, high, middle)
    nearer = between(low)
    return {n: torch.where(per_clip(cut, value), nearer[n], value) for n, value in variables.items()}, cut

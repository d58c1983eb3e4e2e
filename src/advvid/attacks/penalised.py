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
    """

    raised: Callable[[Tensor, Goal], Tensor]
    weight: float
    steps: int
    early_exit: bool
    distance: Callable[[Tensor, Tensor], Tensor]
    limit: float | None
    at_limit: Literal["stop", "project"] = "stop"

    def far(self, changed: Tensor, frames: Tensor) -> Tensor:
        """Return the distance of each clip ``[B]``, zero where nothing asks for it."""
        if self.limit is None and self.early_exit:
            return torch.zeros(len(frames), device=frames.device)
        with torch.no_grad():
            return self.distance(changed, frames)

    def inside(self, far: Tensor) -> Tensor:
        """Tell which distances are within the limit, ``bool [B]``."""
        return torch.ones_like(far, dtype=torch.bool) if self.limit is None else far <= self.limit


def penalised_search(problem: Problem, selection: Selection, change: Change, descent: PenalisedDescent) -> Found:
    """Minimise ``weight * penalty - adversarial term`` over the variables of a change (DeepSAVA, eq. 3, alg. 2).

    Under ``at_limit=stop`` a clip's search ends when its distance exceeds the limit (the paper's budget mode), and
    returns the last iterate inside; under ``project`` its variables are scaled back to the limit and it goes on.
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
    adam = {name: Descent(rate, True, torch.zeros_like(variables[name])) for name, rate in change.step_sizes().items()}
    best = {name: value.clone() for name, value in variables.items()}
    objective = torch.full((size,), torch.inf, device=device)
    fooled = torch.zeros(size, dtype=torch.bool, device=device)
    nearest = torch.full((size,), torch.inf, device=device)
    taken = torch.zeros(size, dtype=torch.int64, device=device)
    calls = torch.zeros_like(taken)
    active = torch.arange(size, device=device)
    clean, here = clips, problem.goal
    for step in range(steps + 1):
        last = step == steps
        variables = {name: value.detach().requires_grad_(not last) for name, value in variables.items()}
        changed = change.apply(frames, variables)
        out = problem.model(selection.put(clean, changed))
        loss = descent.weight * change.penalty(changed, frames, variables, selection) - descent.raised(out, here)
        hit = here.reached(out)
        far = descent.far(changed, frames)
        inside = descent.inside(far)
        better = inside & torch.where(hit, far < nearest[active], ~fooled[active])
        for name, value in variables.items():
            best[name][active] = torch.where(per_clip(better, value), value.detach(), best[name][active])
        taken[active] = torch.where(better, step, taken[active])
        fooled[active] |= inside & hit
        nearest[active] = torch.where(better & hit, far, nearest[active])
        objective[active] = torch.where(better, loss.detach(), objective[active])
        if last:
            break
        done = ~inside | hit if descent.early_exit else ~inside
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
                for own in adam.values():
                    own.select(left)
                active, frames, clean = active[left], frames[left], clean[left]
                here, selection = here.select(left), selection.rows(left)
            if descent.limit is not None and descent.at_limit == "project":
                variables = _scaled_back(change, frames, variables, descent)
    with torch.no_grad():
        x_adv = whole.put(clips, change.apply(whole.take(clips), best))
        aux = {"frames": whole.mask(), **change.describe(clips, best, whole)}
    return Found(AttackResult(x_adv, taken, calls, aux), objective, fooled)


def _scaled_back(change: Change, frames: Tensor, variables: Variables, descent: PenalisedDescent) -> Variables:
    """Scale each clip's variables down until the change is inside the limit; zero variables change nothing."""
    low = torch.zeros(len(frames), device=frames.device)
    high = torch.ones_like(low)
    inside = descent.inside(descent.far(change.apply(frames, variables), frames))
    for _ in range(10):
        middle = (low + high) / 2
        tried = {name: per_clip(middle, value) * value for name, value in variables.items()}
        within = descent.inside(descent.far(change.apply(frames, tried), frames))
        low, high = torch.where(within, middle, low), torch.where(within, high, middle)
    share = torch.where(inside, 1.0, low)
    return {name: per_clip(share, value) * value for name, value in variables.items()}

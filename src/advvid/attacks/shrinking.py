"""Descent in a ball whose radius follows the boundary: what DDN and FMN share."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from advvid.attacks.base import AttackResult
from advvid.attacks.hyperplane import lengths, scaled
from advvid.attacks.logits import require_logits
from advvid.attacks.minimal import MinimalNormAttack
from advvid.attacks.problem import Goal, Problem
from advvid.attacks.search import looks_now
from advvid.core.kinds import Count, PositiveNumber, Share
from advvid.threats.base import per_clip

# The last step over the first (both papers: 0.01 after 1).
LAST_STEP = 0.01
# Halvings of the way between the clean clip and the nearest fooling one at the end.
HALVINGS = 8


@dataclass(frozen=True)
class Step:
    """What a radius may depend on.

    Shape:
        number: of the step, from 0. hit: ``bool [B]``, which clips fool. ahead: ``[B]``, the objective. gradient: of it,
        ``[B, ...]``.
    """

    number: int
    hit: Tensor
    ahead: Tensor
    gradient: Tensor


@dataclass(frozen=True, kw_only=True)
class ShrinkingAttack(MinimalNormAttack):
    """Normalised gradient steps, each followed by a projection into a ball that shrinks while the clip fools.

    The nearest clip that fooled is returned, after a few halvings of the way between it and the clean clip, which ask for
    outputs only.

    Args:
        steps: iterations, each of one gradient.
        step_size: l2 length of the first step; it falls to a hundredth along a cosine.
        gamma: part by which the radius shrinks or grows in a step.
        early_exit: with a budget, a clip that fools within it leaves, although a smaller change might be found.
            Other arguments: see ``MinimalNormAttack``.
    """

    steps: Count = 100
    step_size: PositiveNumber = 1.0
    gamma: Share = 0.05
    early_exit: bool = True

    @abstractmethod
    def _first_radius(self, clips: Tensor) -> Tensor:
        """Return the radius before the first step, ``[B]``."""

    @abstractmethod
    def _objective(self, logits: Tensor, goal: Goal) -> Tensor:
        """Return what the steps lower, ``[B]``."""

    @abstractmethod
    def _radius(self, now: dict[str, Tensor], step: Step) -> Tensor:
        """Return the next radius of each clip, ``[B]``."""

    @abstractmethod
    def _project(self, change: Tensor, radius: Tensor) -> Tensor:
        """Bring each clip's change to, or into, the ball of its radius."""

    def _search(self, problem: Problem) -> AttackResult:
        problem = problem.aimed(self.targeted)
        clips, goal = problem.clips, problem.goal
        size, device = len(clips), clips.device
        best, last = clips.clone(), clips.clone()
        far = torch.full((size,), torch.inf, device=device)
        taken = torch.full((size,), self.steps, device=device)
        calls = torch.zeros_like(taken)
        enough = self.radius if self.early_exit and self.eps is not None else 0.0
        now = {
            "row": torch.arange(size, device=device),
            "clean": clips,
            "change": torch.zeros_like(clips),
            "radius": self._first_radius(clips),
            "far": far.clone(),
        }
        for number in range(self.steps + 1):
            row, clean = now["row"], now["clean"]
            x = (clean + now["change"]).detach().requires_grad_()
            logits = require_logits(problem.model(x), goal.labels, type(self).__name__, several=True)
            hit, norm = goal.reached(logits), lengths(now["change"], self.norm)
            # A clip that is near enough is done, whether or not it has been looked at yet.
            better = hit & (norm < now["far"]) & (now["far"] > enough)
            now["far"] = torch.where(better, norm, now["far"])
            far[row], last[row] = now["far"], x.detach()
            best[row] = torch.where(per_clip(better, clean), x.detach(), best[row])
            taken[row] = torch.where(better, number, taken[row])
            if number == self.steps:
                break
            searching = now["far"] > enough
            calls[row] += searching
            looks = number == 0 or (enough > 0 and looks_now(number, device))
            left = searching.nonzero().squeeze(1) if looks else row
            if len(left) == 0:
                break
            ahead = self._objective(logits, goal)
            (gradient,) = torch.autograd.grad(ahead.sum(), x)
            step = Step(number, hit, ahead.detach(), gradient)
            now["radius"] = self._radius(now, step)
            length = float(self.step_size) * annealed(1.0, LAST_STEP, number, self.steps)
            down = now["change"] - scaled(gradient, length / lengths(gradient, "l2").clamp_min(1e-30))
            now["change"] = self.space.clamp(clean + self._project(down, now["radius"]), clean) - clean
            if looks and len(left) < len(row):
                now, goal = {name: value[left] for name, value in now.items()}, goal.select(left)
        # Half way to the clean clip as many values differ, so that l0 has nothing to gain there.
        nearest = best if self.norm == "l0" else self._halve(problem, best)
        found = torch.where(per_clip(far.isinf(), clips), last, nearest)
        return self._judge(problem, found, taken, calls)

    def _halve(self, problem: Problem, best: Tensor) -> Tensor:
        """Return the nearest clips that fool between the clean ones and those that were found."""
        clips = problem.clips
        low, high = torch.zeros(len(clips), device=clips.device), torch.ones(len(clips), device=clips.device)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            hit = problem.fooled(clips + scaled(best - clips, middle))
            low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)
        return torch.where(per_clip(high < 1, clips), clips + scaled(best - clips, high), best)


def annealed(first: float, ratio: float, number: int, steps: int) -> float:
    """Return a number that falls from ``first`` to ``ratio`` of it along half a cosine.

    Example:
        >>> annealed(1.0, 0.01, 0, 100), round(annealed(1.0, 0.01, 100, 100), 6)
        (1.0, 0.01)
    """
    return first * (ratio + (1 - ratio) * (1 + math.cos(math.pi * number / max(steps, 1))) / 2)

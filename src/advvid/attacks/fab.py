"""FAB: the fast adaptive boundary attack, which looks for the nearest clip that fools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from advvid.attacks.base import AttackResult
from advvid.attacks.hyperplane import lengths, scaled, to_hyperplane
from advvid.attacks.logits import likely_classes, require_logits
from advvid.attacks.minimal import MinimalNormAttack, nearest_boundary
from advvid.attacks.problem import Problem
from advvid.attacks.search import looks_now
from advvid.core.kinds import Count, NotNegativeNumber, Share, Whole
from advvid.threats.base import draw, per_clip

# Radius of the random starts where neither a fooling clip nor a budget gives one, of the space's width per value.
WIDE = 0.3
# Halvings of the segment between the clean clip and the best one at the end.
FINAL_HALVINGS = 3


@dataclass
class Nearest:
    """The nearest fooling clips so far, with their distance and the iteration that found them.

    Shape:
        x: ``[B, 3, T, H, W]``, the clean clips before anything is found. distance: ``[B]``, infinite then.
        steps, calls: int64 ``[B]``, iterations until found, and backward passes.
    """

    x: Tensor
    distance: Tensor
    steps: Tensor
    calls: Tensor
    last: Tensor

    @staticmethod
    def nothing(clips: Tensor) -> Nearest:
        """Return the state before any search."""
        zero = torch.zeros(len(clips), dtype=torch.int64, device=clips.device)
        inf = torch.full((len(clips),), torch.inf, device=clips.device)
        return Nearest(clips.clone(), inf, zero, zero.clone(), clips.clone())

    def offer(self, index: Tensor, x: Tensor, distance: Tensor, fools: Tensor, steps: Tensor) -> None:
        """Take over the clips that fool at a smaller distance."""
        better = fools & (distance < self.distance[index])
        self.x[index] = torch.where(per_clip(better, x), x, self.x[index])
        self.distance[index] = torch.where(better, distance, self.distance[index])
        self.steps[index] = torch.where(better, steps, self.steps[index])


@dataclass(frozen=True, kw_only=True)
class FAB(MinimalNormAttack):
    """FAB (Croce & Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary attack").

    Args:
        steps: iterations of each search.
        restarts: searches for each target; the second and later ones start at random within half the best distance.
        targets: n for FAB-T, a search for each of the n most likely wrong classes; 0 for one search that goes to the
            nearest boundary at every step (a backward pass per class in ``classes``).
        classes: wrong classes that the untargeted form considers, the most likely ones.
        alpha_max, eta, beta: largest weight of the clean clip's projection, how far beyond the boundary a step goes, and the
            part of the change that is kept after a fooling clip; the paper's values are the defaults.
        early_exit: a clip that fools within eps leaves, although a smaller change might be found.
            Other arguments: see ``MinimalNormAttack``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape.
    """

    eps: NotNegativeNumber | None = "8/255"
    norm: Literal["linf", "l2"] = "linf"
    steps: Count = 100
    restarts: Count = 1
    targets: Whole = 9
    classes: Count = 9
    alpha_max: Share = 0.1
    eta: Annotated[float, Ge(1), Le(2)] = 1.05
    beta: Share = 0.9
    early_exit: bool = True

    @property
    def enough(self) -> float:
        """The distance within which a fooled clip stops searching."""
        return self.radius if self.early_exit and self.eps is not None else 0.0

    def _search(self, problem: Problem) -> AttackResult:
        problem = problem.aimed(self.targeted)
        clips, goal = problem.clips, problem.goal
        nearest = Nearest.nothing(clips)
        with torch.no_grad():
            logits = require_logits(problem.model(clips), goal.labels, "FAB", several=True)
        wrong = goal.reached(logits)
        nearest.distance[wrong] = 0
        rivals = likely_classes(logits, goal.labels, self.targets or self.classes)
        sets = [rivals] if goal.targets is not None or not self.targets else list(rivals.split(1, dim=1))
        for restart in range(self.restarts):
            for number, some in enumerate(sets):
                left = (nearest.distance > self.enough).nonzero().squeeze(1)
                if len(left) == 0:
                    break
                rest = problem.select(left)
                start = self._start(rest, nearest.distance[left], restart)
                offset = (restart * len(sets) + number) * self.steps
                self._walk(rest, start, some[left], nearest, left, offset)
        self._halve(problem, nearest)
        missed = nearest.distance.isinf()
        nearest.steps[missed] = self.steps * self.restarts * len(sets)
        found = torch.where(per_clip(missed, clips), nearest.last, nearest.x)
        return self._judge(problem, found, nearest.steps, nearest.calls)

    def _start(self, problem: Problem, distance: Tensor, restart: int) -> Tensor:
        """Return the clean clips first, later random ones at half of the best distance or budget."""
        clips = problem.clips
        if restart == 0:
            return clips
        noise = draw("randn" if self.norm == "l2" else "rand", clips.shape[1:], problem.generators, clips)
        noise = noise if self.norm == "l2" else 2 * noise - 1
        size = 1.0 if self.norm == "linf" else clips[0].numel() ** 0.5
        limit = self.radius if self.eps is not None else WIDE * self.space.width * size
        radius = distance.clamp_max(limit) / 2
        return self.space.clamp(clips + noise * per_clip(radius / lengths(noise, self.norm).clamp_min(1e-30), clips))

    def _walk(
        self, problem: Problem, start: Tensor, rivals: Tensor, nearest: Nearest, index: Tensor, offset: int
    ) -> None:
        """Walk towards the boundary, biased to the clean clip, and record the nearest fooling clips.

        One step of Croce & Hein 2020 (algorithm 1): project both the current and the clean clip onto the linearised
        boundary, go ``eta`` times as far, mix the two ends; and after a clip that fools go back towards the clean one.

        Args:
            problem: of the clips ``index``.
            start: where each search begins.
            rivals: classes whose boundary is considered, ``[b, n]``.
            nearest: state of the whole batch, updated in place.
            index: rows of the batch that take part.
            offset: iterations of earlier searches, for the count.
        """
        x, clips, goal = start, problem.clips, problem.goal
        per_step = rivals.shape[1] if goal.targets is None else 1
        gone = torch.zeros_like(index, dtype=torch.bool)  # has left, and is not taken out yet
        for step in range(1, self.steps + 1):
            _, gap, normal = nearest_boundary(problem.model, x, goal, rivals, self.norm)
            nearest.calls[index] += per_step * (~gone).long()
            from_here = to_hyperplane(x, normal, gap, self.norm, self.space)
            clean_gap = gap + (normal * (clips - x)).flatten(1).sum(dim=1)
            from_clean = to_hyperplane(clips, normal, clean_gap, self.norm, self.space)
            near, far = lengths(from_here, self.norm), lengths(from_clean, self.norm)
            weight = (near / (near + far).clamp_min(1e-30)).clamp_max(self.alpha_max)
            ahead = scaled(x + self.eta * from_here, 1 - weight) + scaled(clips + self.eta * from_clean, weight)
            x = self.space.clamp(ahead)
            with torch.no_grad():
                hit = goal.reached(problem.model(x)) & ~gone
            nearest.offer(index, x, lengths(x - clips, self.norm), hit, torch.full_like(index, offset + step))
            nearest.last[index] = torch.where(per_clip(gone, x), nearest.last[index], x)
            x = torch.where(per_clip(hit, x), clips + self.beta * (x - clips), x)
            gone = gone | (nearest.distance[index] <= self.enough)
            left = (~gone).nonzero().squeeze(1) if looks_now(step, x.device) else index
            if len(left) == 0:
                return
            if len(left) < len(index):
                index, x, clips, rivals, gone = index[left], x[left], clips[left], rivals[left], gone[left]
                goal = goal.select(left)

    def _halve(self, problem: Problem, nearest: Nearest) -> None:
        """Halve the way between each clean clip and its nearest fooling one a few times (the paper's final search)."""
        clips = problem.clips
        low = torch.zeros_like(nearest.distance)
        high = torch.ones_like(low)
        far = nearest.x.clone()
        rows = torch.arange(len(clips), device=clips.device)
        for _ in range(FINAL_HALVINGS):
            middle = (low + high) / 2
            x = clips + scaled(far - clips, middle)
            hit = problem.fooled(x) & nearest.distance.isfinite()
            nearest.offer(rows, x, lengths(x - clips, self.norm), hit, nearest.steps)
            low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)

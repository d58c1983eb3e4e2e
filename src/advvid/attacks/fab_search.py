"""The walk along the decision boundary of FAB, from one start."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advvid.attacks.hyperplane import lengths, scaled, to_hyperplane
from advvid.attacks.minimal import nearest_boundary
from advvid.attacks.problem import Problem
from advvid.core.batch import Space
from advvid.threats.base import per_clip

# Halvings of the segment between the clean clip and the best one at the end (Croce & Hein 2020, FAB, "final search").
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


def fab_search(
    problem: Problem,
    start: Tensor,
    rivals: Tensor,
    nearest: Nearest,
    index: Tensor,
    *,
    norm: str,
    space: Space,
    steps: int,
    alpha_max: float,
    eta: float,
    beta: float,
    enough: float,
    offset: int = 0,
) -> None:
    """Walk towards the boundary, biased to the clean clip, and record the nearest fooling clips in ``nearest``.

    One step of Croce & Hein 2020 (FAB, algorithm 1): project both the current and the clean clip onto the linearised
    boundary, go ``eta`` times as far, mix the two ends; and after a clip that fools go back towards the clean one.

    Args:
        problem: of the clips ``index``.
        start: where each search begins.
        rivals: classes whose boundary is considered, ``[b, n]``.
        nearest: state of the whole batch, updated in place.
        index: rows of the batch that take part.
        norm: ``linf`` or ``l2``.
        space: the range of valid values.
        steps: iterations.
        alpha_max: largest weight of the clean clip's projection.
        eta: how far beyond the boundary a step goes, above 1.
        beta: part of the change that is kept after a fooling clip.
        enough: a clip that fools within this distance stops searching.
        offset: iterations of earlier searches, for the count.
    """
    x, clips, goal = start, problem.clips, problem.goal
    per_step = rivals.shape[1] if goal.targets is None else 1
    for step in range(1, steps + 1):
        _, gap, normal = nearest_boundary(problem.model, x, goal, rivals, norm)
        nearest.calls[index] += per_step
        from_here = to_hyperplane(x, normal, gap, norm, space)
        clean_gap = gap + (normal * (clips - x)).flatten(1).sum(dim=1)
        from_clean = to_hyperplane(clips, normal, clean_gap, norm, space)
        near, far = lengths(from_here, norm), lengths(from_clean, norm)
        weight = (near / (near + far).clamp_min(1e-30)).clamp_max(alpha_max)
        ahead = scaled(x + eta * from_here, 1 - weight) + scaled(clips + eta * from_clean, weight)
        x = space.clamp(ahead)
        with torch.no_grad():
            hit = goal.reached(problem.model(x))
        nearest.offer(index, x, lengths(x - clips, norm), hit, torch.full_like(index, offset + step))
        nearest.last[index] = x
        x = torch.where(per_clip(hit, x), clips + beta * (x - clips), x)
        done = nearest.distance[index] <= enough
        if bool(done.any()):
            left = (~done).nonzero().squeeze(1)
            if len(left) == 0:
                return
            index, x, clips, rivals = index[left], x[left], clips[left], rivals[left]
            goal = goal.select(left)


@torch.no_grad()
def final_search(problem: Problem, nearest: Nearest, norm: str) -> None:
    """Halve the way between each clean clip and its nearest fooling one a few times."""
    clips = problem.clips
    low = torch.zeros_like(nearest.distance)
    high = torch.ones_like(low)
    far = nearest.x.clone()
    rows = torch.arange(len(clips), device=clips.device)
    for _ in range(FINAL_HALVINGS):
        middle = (low + high) / 2
        x = clips + scaled(far - clips, middle)
        hit = problem.fooled(x) & nearest.distance.isfinite()
        nearest.offer(rows, x, lengths(x - clips, norm), hit, nearest.steps)
        low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)

"""What attacks share that see the model's answer only: a start that fools, the way to the boundary, and their count."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn import functional as F

from advvid.attacks.base import AttackResult
from advvid.attacks.hyperplane import scaled
from advvid.attacks.minimal import MinimalNormAttack
from advvid.attacks.oracle import Oracle
from advvid.attacks.problem import Problem
from advvid.threats.base import draw, per_clip

# Sizes of the cells of the random starts, in pixels and frames; 0 is one colour for the clip.
CELLS = (1, 4, 0)
STARTS = 30
# Halvings after which a blend of two clips changes no more in float32.
FINEST = 20


@dataclass(frozen=True, kw_only=True)
class LabelAttack(MinimalNormAttack):
    """A search in l2 for the smallest change by labels only, no score and no gradient.

    The starts are noise in single values, in cells of 4 pixels and frames, and plain colours, by turns: a model that
    takes all noise for one class has no other way out of this one.

    Args:
        queries: times that the model may be asked about each clip, starts included.
            Other arguments: see ``MinimalNormAttack``; with a budget the clean clip is returned where no change within
            it was found.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``aux["norm"]`` ``[B]`` as in
        ``MinimalNormAttack``, ``aux["queries"]`` int ``[B]``, ``aux["curve"]`` ``[B, M]``, the norm after the numbers of
        queries of ``advvid.attacks.oracle.marks``; ``gradient_calls`` is 0.
    """

    access: ClassVar[str] = "black_box"
    any_shape: ClassVar[bool] = False

    norm: Literal["l2"] = "l2"
    queries: Annotated[int, Ge(2)] = 5000

    def notes(self, classes: int) -> tuple[str, ...]:
        """Return what the attack sees of the model, and how often."""
        name = type(self).__name__
        return (f"{name} sees the answer only, no scores, and asks at most {self.queries} times about each clip.",)

    @torch.no_grad()
    def _search(self, problem: Problem) -> AttackResult:
        """Find starts, come nearer, and return the nearest clips that fool, those within the budget.

        A clip that is wrong already, or that no start fooled, is left alone.
        """
        problem = problem.aimed(self.targeted)
        clips = problem.clips
        oracle = Oracle(problem, self.queries)
        oracle.ask(torch.arange(len(clips), device=clips.device), clips)
        self._begin(problem, oracle)
        rows = ((oracle.far > 0) & oracle.far.isfinite()).nonzero().squeeze(1)
        rounds = torch.zeros_like(oracle.asked)
        if len(rows):
            self._nearer(oracle, rows, rounds)
        x_adv = torch.where(per_clip(oracle.far <= self.radius, clips), oracle.nearest, clips)
        aux = {"norm": oracle.far, "queries": oracle.asked.clone(), "curve": oracle.curve}
        return AttackResult(x_adv, rounds, torch.zeros_like(rounds), aux)

    @abstractmethod
    def _nearer(self, oracle: Oracle, rows: Tensor, rounds: Tensor) -> None:
        """Ask from the nearest clips that fool, of these rows, until no query is left; write how many rounds each row had."""

    def _begin(self, problem: Problem, oracle: Oracle) -> None:
        """Ask about random clips until one fools."""
        for number in range(STARTS):
            rows = (oracle.far.isinf() & (oracle.asked < self.queries)).nonzero().squeeze(1)
            if len(rows) == 0:
                return
            clips = problem.clips[rows]
            size = CELLS[number % len(CELLS)]
            cells = [max(1, math.ceil(side / size)) if size else 1 for side in clips.shape[2:]]
            noise = draw("rand", (clips.shape[1], *cells), [problem.generators[i] for i in rows.tolist()], clips)
            start = self.space.low + self.space.width * F.interpolate(noise, clips.shape[2:])
            oracle.ask(rows, self.space.clamp(start, clips))

    def _to_boundary(self, oracle: Oracle, rows: Tensor, x: Tensor) -> Tensor:
        """Bisect the way between the clean clips and fooling ones, and return the nearest that fool."""
        clips = oracle.problem.clips[rows]
        low, high = torch.zeros(len(rows), device=x.device), torch.ones(len(rows), device=x.device)
        for _ in range(min(FINEST, math.ceil(1.5 * math.log2(x[0].numel())))):
            middle = (low + high) / 2
            hit, answered = oracle.ask(rows, clips + scaled(x - clips, middle))
            low, high = torch.where(answered & ~hit, middle, low), torch.where(hit, middle, high)
        return torch.where(per_clip(high < 1, x), clips + scaled(x - clips, high), x)

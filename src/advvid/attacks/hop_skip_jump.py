"""HopSkipJump: the smallest l2 change of a model that says nothing but its answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn import functional as F

from advvid.attacks.base import AttackResult
from advvid.attacks.hyperplane import lengths, scaled
from advvid.attacks.minimal import MinimalNormAttack
from advvid.attacks.oracle import Oracle
from advvid.attacks.problem import Problem
from advvid.core.kinds import Count
from advvid.threats.base import draw, per_clip

# Sizes of the cells of the random starts, in pixels and frames; 0 is one colour for the clip.
CELLS = (1, 4, 0)
STARTS = 30
# Most draws of one estimate, and most halvings of a step (the paper's code: 10^4, and until it succeeds).
MOST_DRAWS, MOST_HALVINGS = 10_000, 20
# Halvings after which a blend of two clips changes no more in float32, and a change of a value that rounding leaves.
FINEST, ROUNDING = 20, 3e-6


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(MinimalNormAttack):
    """HopSkipJump in l2 (Chen, Jordan & Wainwright 2020, algorithm 2): labels only, no score and no gradient.

    From a random clip that fools, each round bisects the way to the clean clip (algorithm 1), estimates the boundary's normal from
    the answers around (eq. 9, with the mean taken off as in eq. 16), and goes along it as far as the clip still fools,
    ``distance / sqrt(round)`` at first. Distance: l2 over the whole clip.

    The starts are noise in single values, as the paper's, in cells of 4 pixels and frames, and plain colours, by turns: a
    model that takes all noise for one class has no other way out of this one.

    Args:
        queries: times that the model may be asked about each clip, starts included.
        draws: answers behind the first estimate; later ones take ``draws * sqrt(round)`` (the paper's B_0).
            Other arguments: see ``MinimalNormAttack``; with a budget the clean clip is returned where no change within
            it was found.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``aux["norm"]`` ``[B]`` as in
        ``MinimalNormAttack``, ``aux["queries"]`` int ``[B]``; ``gradient_calls`` is 0.

    Example:
        >>> HopSkipJump(queries=1000).notes(5)[0]
        'HopSkipJump sees the answer only, no scores, and asks at most 1000 times about each clip.'
    """

    access: ClassVar[str] = "black_box"
    any_shape: ClassVar[bool] = False

    norm: Literal["l2"] = "l2"
    queries: Annotated[int, Ge(2)] = 5000
    draws: Count = 100

    def notes(self, classes: int) -> tuple[str, ...]:
        """Return what the attack sees of the model, and how often."""
        return (f"HopSkipJump sees the answer only, no scores, and asks at most {self.queries} times about each clip.",)

    @torch.no_grad()
    def _search(self, problem: Problem) -> AttackResult:
        problem = problem.aimed(self.targeted)
        clips = problem.clips
        oracle = Oracle(problem, self.queries)
        everyone = torch.arange(len(clips), device=clips.device)
        oracle.ask(everyone, clips)
        self._begin(problem, oracle)
        # A clip that is wrong already, or that no start fooled, is left alone.
        rows = ((oracle.far > 0) & oracle.far.isfinite()).nonzero().squeeze(1)
        x, rounds = oracle.nearest[rows], torch.zeros_like(oracle.asked)
        number = 0
        while len(rows):
            number += 1
            rounds[rows] = number
            x = self._to_boundary(oracle, rows, x)
            normal = self._normal(oracle, rows, x, number)
            x = self._jump(oracle, rows, x, normal, number)
            kept = (oracle.asked[rows] < self.queries).nonzero().squeeze(1)
            rows, x = rows[kept], x[kept]
        inside = oracle.far <= self.radius
        x_adv = torch.where(per_clip(inside, clips), oracle.nearest, clips)
        return AttackResult(
            x_adv, rounds, torch.zeros_like(rounds), {"norm": oracle.far, "queries": oracle.asked.clone()}
        )

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

    def _normal(self, oracle: Oracle, rows: Tensor, x: Tensor, number: int) -> Tensor:
        """Estimate the direction in which a clip on the boundary fools more, of unit length."""
        problem, values = oracle.problem, x[0].numel()
        far = lengths(x - problem.clips[rows], "l2")
        finest = ROUNDING * math.sqrt(values)
        radius = torch.full_like(far, 0.1 * self.space.width) if number == 1 else (far / values).clamp_min(finest)
        generators = [problem.generators[i] for i in rows.tolist()]
        plain, signed = torch.zeros_like(x), torch.zeros_like(x)
        count, total = torch.zeros_like(far), torch.zeros_like(far)
        for _ in range(min(MOST_DRAWS, math.ceil(self.draws * math.sqrt(number)))):
            noise = draw("randn", x.shape[1:], generators, x)
            around = self.space.clamp(x + scaled(noise, radius / lengths(noise, "l2").clamp_min(1e-30)), x)
            hit, answered = oracle.ask(rows, around)
            weight = answered.to(x.dtype)
            sign = (2 * hit.to(x.dtype) - 1) * weight
            plain += scaled(around - x, weight)
            signed += scaled(around - x, sign)
            count, total = count + weight, total + sign
        mean = total / count.clamp_min(1)
        # Where all answers agree, taking the mean off would leave nothing.
        normal = signed - scaled(plain, torch.where(mean.abs() == 1, 0.0, mean))
        return scaled(normal, 1 / lengths(normal, "l2").clamp_min(1e-30))

    def _jump(self, oracle: Oracle, rows: Tensor, x: Tensor, normal: Tensor, number: int) -> Tensor:
        """Go along the normal as far as the clip fools, half as far each time it does not."""
        length = lengths(x - oracle.problem.clips[rows], "l2") / math.sqrt(number)
        waiting = torch.ones(len(rows), dtype=torch.bool, device=x.device)
        for _ in range(MOST_HALVINGS):
            ahead = self.space.clamp(x + scaled(normal, length), x)
            hit, answered = oracle.ask(rows, ahead, waiting)
            x = torch.where(per_clip(hit, x), ahead, x)
            waiting, length = answered & ~hit, length / 2
            if not bool(waiting.any()):
                break
        return x

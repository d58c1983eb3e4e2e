"""HopSkipJump: the smallest l2 change of a model that says nothing but its answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from advvid.attacks.hyperplane import lengths, scaled
from advvid.attacks.label_search import LabelAttack
from advvid.attacks.oracle import Oracle
from advvid.core.kinds import Count
from advvid.threats.base import draw, per_clip

# Most draws of one estimate, and most halvings of a step (the paper's code: 10^4, and until it succeeds).
MOST_DRAWS, MOST_HALVINGS = 10_000, 20
# A change of a value that rounding leaves in float32.
ROUNDING = 3e-6


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(LabelAttack):
    """HopSkipJump in l2 (Chen, Jordan & Wainwright 2020, algorithm 2): labels only, no score and no gradient.

    From a random clip that fools, each round bisects the way to the clean clip (algorithm 1), estimates the boundary's normal from
    the answers around (eq. 9, with the mean taken off as in eq. 16), and goes along it as far as the clip still fools,
    ``distance / sqrt(round)`` at first. Distance: l2 over the whole clip. The starts are the paper's and two kinds more,
    see ``LabelAttack``.

    Args:
        draws: answers behind the first estimate; later ones take ``draws * sqrt(round)`` (the paper's B_0).
            Other arguments and shapes: see ``LabelAttack``.

    Example:
        >>> HopSkipJump(queries=1000).notes(5)[0]
        'HopSkipJump sees the answer only, no scores, and asks at most 1000 times about each clip.'
    """

    draws: Count = 100

    def _nearer(self, oracle: Oracle, rows: Tensor, rounds: Tensor) -> None:
        x, region = self._confined(oracle, rows, oracle.nearest[rows])
        number = 0
        while len(rows):
            number += 1
            rounds[rows] = number
            x = self._to_boundary(oracle, rows, x)
            normal = self._normal(oracle, rows, x, region, number)
            x = self._jump(oracle, rows, x, normal, number)
            kept = (oracle.asked[rows] < self.queries).nonzero().squeeze(1)
            rows, x, region = rows[kept], x[kept], None if region is None else region[kept]

    def _confined(self, oracle: Oracle, rows: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return where the search begins and what it may change, bool like the clips; None for everything."""
        return x, None

    def _normal(self, oracle: Oracle, rows: Tensor, x: Tensor, region: Tensor | None, number: int) -> Tensor:
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
            noise = noise if region is None else noise * region
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

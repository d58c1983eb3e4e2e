"""NES: gradient ascent on gradients that are estimated from scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor

from advvid.attacks.hyperplane import scaled
from advvid.attacks.problem import Goal, Problem
from advvid.attacks.score_ascent import ScoreAscent
from advvid.core.kinds import PositiveNumber
from advvid.threats.base import draw


@dataclass(frozen=True, kw_only=True)
class NES(ScoreAscent):
    """Natural evolution strategies (Ilyas et al. 2018, algorithm 1), from the model's scores alone.

    Each step estimates the gradient of the label's margin from pairs of noise, ``x + sigma u`` and ``x - sigma u``, and
    goes a signed step along the estimate, which remembers earlier ones. Distance: l-inf.

    Args:
        samples: queries behind each estimate, two for each noise; fewer where the limit leaves room for no step else.
        sigma: size of the noise, in [0, 1] of the values (the paper: 0.001, at which float32 scores are half rounding).
        momentum: weight of the remembered estimate (the paper's code: 0.9).
            Other arguments: see ``ScoreAscent``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``aux["queries"]`` is
        int ``[B]``; ``gradient_calls`` is 0.

    Example:
        >>> NES(queries=1000).notes(5)[0]
        'NES sees scores and asks at most 1000 times about each clip.'
    """

    samples: Annotated[int, Ge(2)] = 50
    sigma: PositiveNumber = 0.01
    momentum: Annotated[float, Ge(0), Le(1)] = 0.9

    @property
    def pairs(self) -> int:
        """Pairs of queries behind each step."""
        return min(self.samples, self.queries - 2) // 2

    def _slope(self, problem: Problem, now: dict[str, Tensor]) -> Tensor:
        return self.momentum * now["memory"] + (1 - self.momentum) * self._estimate(problem, now["x"], self.pairs)

    def _estimate(self, problem: Problem, x: Tensor, pairs: int) -> Tensor:
        """Return the estimated direction in which the margin falls, like ``x``."""

        def noise() -> tuple[Tensor, Tensor]:
            drawn = draw("randn", x.shape[1:], problem.generators, x)
            return drawn, drawn

        return antithetic(problem, x, noise, pairs, float(self.sigma))


def antithetic(
    problem: Problem, x: Tensor, noise: Callable[[], tuple[Tensor, Tensor]], pairs: int, sigma: float
) -> Tensor:
    """Return the sum of random numbers, each times how much the margin falls along what it stands for (eq. 2.1).

    Args:
        problem: the clips, the model and the goal.
        x: where, ``[B, 3, T, H, W]``.
        noise: draws random numbers ``[B, ...]`` and the change of the clip that they stand for, like ``x``.
        pairs: of queries.
        sigma: length of the changes.
    """
    total: Tensor | None = None
    goal: Goal = problem.goal
    for _ in range(pairs):
        numbers, change = noise()
        ahead = [goal.ahead(problem.model(x + sign * sigma * change)) for sign in (-1, 1)]
        gain = scaled(numbers, ahead[0] - ahead[1])
        total = gain if total is None else total + gain
    assert total is not None
    return total

"""How sure a measured accuracy is: intervals for proportions, for means of columns, and for differences of models."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advvid.core.errors import AdvvidError

DRAWS = 10_000
LEVEL = 0.95

Interval = tuple[float, float]


def wilson(right: int, total: int, level: float = LEVEL) -> Interval:
    """Return Wilson's score interval of a proportion (Wilson 1927).

    Unlike the textbook interval it stays inside [0, 1] and keeps its width at 0% and 100%, where robust
    accuracies often lie.

    Args:
        right: number of successes.
        total: number of trials; 0 gives (0, 1), since nothing is known.
        level: confidence level.

    Returns:
        The lower and upper end as fractions in [0, 1].

    Raises:
        AdvvidError: if the counts are not those of a proportion.

    Example:
        >>> [round(end, 4) for end in wilson(8, 10)]
        [0.4902, 0.9433]
    """
    if not 0 <= right <= total:
        raise AdvvidError(f"{right} right out of {total} is not a proportion: count the clips again")
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = right / total
    centre = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    # The ends at 0% and 100% are exactly 0 and 1; rounding would leave them a hair inside.
    low = 0.0 if right == 0 else (centre - half) / scale
    high = 1.0 if right == total else (centre + half) / scale
    return low, high


def bootstrap_mean(
    correct: ArrayLike, generator: np.random.Generator, draws: int = DRAWS, level: float = LEVEL
) -> Interval:
    """Return the percentile bootstrap interval of the mean over several columns, resampling whole clips.

    A clip's columns are drawn together, so that their correlation counts: a clip that falls to one attack often
    falls to the next. Where all clips score alike the interval has no width, and that says nothing about other clips.

    Shape:
        correct: ``[n, columns]`` of 0/1 (or bool), a row per clip.

    Returns:
        The lower and upper end as fractions in [0, 1].

    Raises:
        AdvvidError: if there is no clip or no column.

    Example:
        >>> bootstrap_mean([[1, 1], [1, 1]], np.random.default_rng(0))
        (1.0, 1.0)
    """
    return _percentiles(_matrix(correct).mean(axis=1), generator, draws, level)


def bootstrap_difference(
    first: ArrayLike, second: ArrayLike, generator: np.random.Generator, draws: int = DRAWS, level: float = LEVEL
) -> tuple[float, Interval]:
    """Return how much the first model is better than the second on the same clips, with its bootstrap interval.

    Clips are drawn in pairs, one result of each model: what is hard for both cancels.

    Shape:
        first, second: ``[n]`` or ``[n, columns]`` of 0/1, the same clips in the same order.

    Returns:
        The difference of the mean accuracies, and its interval, as fractions in [-1, 1].

    Raises:
        AdvvidError: if the two do not hold the same number of clips, or none.

    Example:
        >>> bootstrap_difference([1, 1], [0, 0], np.random.default_rng(0))
        (1.0, (1.0, 1.0))
    """
    one, two = _matrix(first), _matrix(second)
    if len(one) != len(two):
        raise AdvvidError(
            f"a paired comparison needs the same clips, but the models have {len(one)} and {len(two)}: "
            "keep only the clips that both have scored"
        )
    scores = one.mean(axis=1) - two.mean(axis=1)
    return float(scores.mean()), _percentiles(scores, generator, draws, level)


def paired_difference(first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> tuple[float, Interval]:
    """Return the difference of two proportions on the same clips, with the interval of Bonett & Price (2012).

    A clip on which the first alone is right and one on which the second alone is are added before the interval is taken.
    Other than a bootstrap's it keeps its width where the two agree on every clip, or on none: that 100 clips agree does not
    say that all would.

    Shape:
        first, second: ``[n]`` of 0/1, the same clips in the same order.

    Returns:
        The difference as it was counted, and the interval, cut to [-1, 1] and widened to hold it where it does not.

    Raises:
        AdvvidError: if the two do not hold the same number of clips, or none.

    Example:
        >>> difference, (low, high) = paired_difference([1] * 50, [1] * 50)
        >>> difference, round(low, 3), round(high, 3)
        (0.0, -0.053, 0.053)
    """
    one, two = (_matrix(values).mean(axis=1) for values in (first, second))
    if len(one) != len(two):
        raise AdvvidError(f"a paired comparison needs the same clips, but there are {len(one)} and {len(two)}")
    apart = one - two
    more, less = (np.sum(apart > 0) + 1) / (len(one) + 2), (np.sum(apart < 0) + 1) / (len(one) + 2)
    centre, z = more - less, NormalDist().inv_cdf(0.5 + level / 2)
    spread = z * math.sqrt((more + less - centre**2) / (len(one) + 2))
    counted = float(apart.mean())
    return counted, (max(-1.0, min(float(centre - spread), counted)), min(1.0, max(float(centre + spread), counted)))


def _matrix(correct: ArrayLike) -> NDArray[np.float64]:
    """Return results as ``[n, columns]`` float64."""
    matrix = np.asarray(correct, dtype=np.float64)
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if matrix.ndim != 2 or matrix.size == 0:
        raise AdvvidError(f"a bootstrap needs clips by columns, but the results have shape {matrix.shape}: score clips")
    return matrix


def _percentiles(scores: NDArray[np.float64], generator: np.random.Generator, draws: int, level: float) -> Interval:
    """Return the percentile interval of the mean of the clips' scores.

    Few distinct scores exist, so that drawing how often each occurs (multinomial) equals drawing clips, costs no
    ``draws x n`` matrix, and does not depend on the order of the clips.
    """
    # Rounding merges scores that differ only in their last bit.
    values, counts = np.unique(np.round(scores, 12), return_counts=True)
    total = len(scores)
    if len(values) == 1:
        return float(values[0]), float(values[0])
    means = generator.multinomial(total, counts / total, size=draws) @ values / total
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

"""Numbers with intervals of any level, so that a verdict's p value comes from the very test that decides it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from advvid.metrics.statistics import LEVEL, bootstrap_difference, paired_difference

Interval = tuple[float, float]
Array = NDArray[np.float64]
HALVINGS = 20  # of the level, for a p value to about a millionth


@dataclass(frozen=True)
class Estimate:
    """A number, how sure it is, and the percentages that it is made of.

    Args:
        value: the number.
        ends: its interval at a level.
        shares: the one or two percentages of clips behind it; empty where it is none of such.
    """

    value: float
    ends: Callable[[float], Interval]
    shares: tuple[float, ...] = ()

    @property
    def ci95(self) -> Interval:
        """The interval at 95%."""
        return self.ends(LEVEL)

    @property
    def p(self) -> float:
        """The two-sided p value of "it is 0": one less the largest level whose interval leaves 0 out.

        Example:
            >>> round(normal(1.96, (0.0, 3.92)).p, 3)
            0.05
        """
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            level = (low + high) / 2
            one, two = self.ends(level)
            low, high = (level, high) if one > 0 or two < 0 else (low, level)
        return 1 - low

    def above(self, needed: float) -> Estimate:
        """Return by how much it is above a number."""
        return replace(self, value=self.value - needed, ends=lambda level: _moved(self.ends(level), -needed))

    def below(self, most: float) -> Estimate:
        """Return by how much it is below a number."""

        def ends(level: float) -> Interval:
            low, high = self.ends(level)
            return most - high, most - low

        return replace(self, value=most - self.value, ends=ends)

    def times(self, factor: float) -> Estimate:
        """Return it in another unit; ``factor`` is above 0."""

        def ends(level: float) -> Interval:
            low, high = self.ends(level)
            return factor * low, factor * high

        return replace(self, value=factor * self.value, ends=ends)


def _moved(ends: Interval, by: float) -> Interval:
    return ends[0] + by, ends[1] + by


def normal(value: float, ci95: Interval) -> Estimate:
    """Return a number of which only the interval at 95% is known; at other levels each half is scaled as a normal one's."""
    quantile = stats.norm.ppf(0.5 + LEVEL / 2)

    def ends(level: float) -> Interval:
        scale = stats.norm.ppf(0.5 + level / 2) / quantile
        return value - scale * (value - ci95[0]), value + scale * (ci95[1] - value)

    return Estimate(value, ends)


def minus(first: Estimate, second: Estimate) -> Estimate:
    """Return the difference of two independent numbers: its half width is the root of the sum of their squares."""
    value = first.value - second.value

    def ends(level: float) -> Interval:
        halves = [(high - low) / 2 for low, high in (first.ends(level), second.ends(level))]
        return value - math.hypot(*halves), value + math.hypot(*halves)

    return Estimate(value, ends, (*first.shares, *second.shares))


def drawn(value: float, draws: Sequence[float] | Array) -> Estimate:
    """Return a number with the percentiles of its bootstrap draws."""
    kept = np.sort(np.asarray(draws, dtype=np.float64))

    def ends(level: float) -> Interval:
        low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    return Estimate(value, ends)


def paired(one: Array, two: Array) -> Estimate:
    """Return the mean of ``one`` less that of ``two`` on the same clips: counts by Bonett and Price, others by a bootstrap."""
    if np.isin([one, two], (0, 1)).all():
        return Estimate(paired_difference(one, two)[0], lambda level: paired_difference(one, two, level)[1])

    def ends(level: float) -> Interval:
        return bootstrap_difference(one, two, np.random.default_rng(0), level=level)[1]

    return Estimate(float(np.mean(one - two)), ends)


def over_seeds(one: Array, two: Array | None = None) -> Estimate:
    """Return the mean of ``one``, less that of ``two``, where trainings of several seeds were scored on the same clips.

    Two things are left to chance, the clips and the seeds: their variances add up, with Satterthwaite's degrees of freedom.
    Where both sides have as many seeds, the n-th of one is compared with the n-th of the other.

    Shape:
        one: ``[seeds, clips]``; two: ``[seeds of its own, clips]``.
    """
    two = np.zeros((1, one.shape[1])) if two is None else two
    clips = one.shape[1]
    apart = one.mean(axis=0) - two.mean(axis=0)
    # Clips that all agree do not say that every clip would: what Bonett and Price's interval has there is the least.
    parts = [(max(float(apart.var(ddof=1)) / clips if clips > 1 else 0.0, 2 / (clips + 2) ** 2), max(clips - 1, 1))]
    sides = [one - two] if one.shape == two.shape else [one, two]
    for side in (side.mean(axis=1) for side in sides if len(side) > 1):
        parts.append((float(side.var(ddof=1)) / len(side), len(side) - 1))
    whole = sum(part for part, _ in parts)
    freedom = whole**2 / sum(part**2 / degrees for part, degrees in parts)
    value = float(apart.mean())

    def ends(level: float) -> Interval:
        spread = float(stats.t.ppf(0.5 + level / 2, freedom)) * math.sqrt(whole)
        return value - spread, value + spread

    return Estimate(value, ends)

"""Means over clips and their differences between models, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advvid.metrics.statistics import bootstrap_difference, bootstrap_mean

Values = Sequence[float] | NDArray[np.float64]


def mean_of(values: Values) -> dict[str, Any]:
    """Return a mean with its interval, which is computed on values of order one, since some are tiny.

    Example:
        >>> mean_of([0.5, 0.5])
        {'mean': 0.5, 'ci95': [0.5, 0.5]}
    """
    array = np.asarray(values, dtype=np.float64)
    scale = float(np.abs(array).mean()) or 1.0
    low, high = bootstrap_mean(array / scale, np.random.default_rng(0))
    return {"mean": float(array.mean()), "ci95": [low * scale, high * scale]}


def mean_difference(values: Values, base: Values) -> dict[str, Any]:
    """Return by how much values exceed others of the same clips, with the paired interval."""
    one, two = np.asarray(values, dtype=np.float64), np.asarray(base, dtype=np.float64)
    scale = float(np.abs([one, two]).mean()) or 1.0
    mean, (low, high) = bootstrap_difference(one / scale, two / scale, np.random.default_rng(0))
    return {"mean": mean * scale, "ci95": [low * scale, high * scale]}

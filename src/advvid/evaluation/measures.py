"""The measures of Mu et al. (DeepSAVA, sec. 4) over the clips of one attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advvid.core.errors import AdvvidError


@dataclass(frozen=True)
class SparseMeasures:
    """What one row of the paper's tables 3 to 6 and B.14 to B.16 holds; None where no clip gives a value.

    Args:
        clips: clips that are right without an attack, the base of everything else.
        fooling_rate: see ``fooling_rate``, a fraction.
        iterations: see ``average_iterations``.
        success_perturbation: see ``average_success_perturbation``.
        seconds: of the attack, all clips together.
    """

    clips: int
    fooling_rate: float | None
    iterations: float | None
    success_perturbation: float | None
    seconds: float


def fooling_rate(clean_right: ArrayLike, attacked_right: ArrayLike) -> float | None:
    """Return the share of the clips right on clean that are wrong under attack (FR), a fraction.

    Shape:
        clean_right, attacked_right: ``bool [n]``, the same clips in the same order.

    Example:
        >>> fooling_rate([True, True, False], [False, True, False])
        0.5
    """
    clean, fooled = _fooled(clean_right, attacked_right)
    return float(fooled.sum() / clean.sum()) if clean.any() else None


def average_iterations(clean_right: ArrayLike, attacked_right: ArrayLike, steps: ArrayLike) -> float | None:
    """Return the mean number of iterations behind the clips that were fooled (ANI).

    Example:
        >>> average_iterations([True, True, True], [False, True, False], [4, 100, 8])
        6.0
    """
    return _mean_where(_fooled(clean_right, attacked_right)[1], steps)


def average_success_perturbation(
    clean_right: ArrayLike, attacked_right: ArrayLike, distance: ArrayLike
) -> float | None:
    """Return the mean distance of the clips that were fooled (ASP, sec. 4.2.6), in the distance's own measure."""
    return _mean_where(_fooled(clean_right, attacked_right)[1], distance)


def average_absolute_perturbation(
    clean_right: ArrayLike, attacked_right: ArrayLike, distance: ArrayLike, limit: float
) -> float | None:
    """Return the average absolute perturbation (AAP, sec. 4.2.2): ``ASP * f + limit * (1 - f)``, f the fooling rate.

    A clip that was not fooled counts with the largest distance allowed.

    Args:
        clean_right: ``bool [n]``.
        attacked_right: ``bool [n]``.
        distance: ``[n]``, l2,1 or one minus SSIM.
        limit: the largest distance allowed (the paper: 0.1 for l2,1 and 0.08 for one minus SSIM).

    Example:
        >>> round(average_absolute_perturbation([True, True], [False, True], [0.02, 0.0], 0.1), 6)
        0.06
    """
    rate = fooling_rate(clean_right, attacked_right)
    if rate is None:
        return None
    mean = average_success_perturbation(clean_right, attacked_right, distance) or 0.0
    return mean * rate + limit * (1 - rate)


def survival(samples: Sequence[Mapping[str, Any]], column: str, after: str = "codec") -> tuple[int, int]:
    """Return how many clips that an attack fools still fool after a postprocessing, and of how many (sec. 4.2.3).

    Counted are clips that the model has right, as they are and after the postprocessing.

    Args:
        samples: lines of ``samples.jsonl`` of an evaluation with ``postprocess``.
        column: the attack.
        after: the postprocessing.

    Raises:
        AdvvidError: if the samples hold no such results.
    """
    names = (column, f"{column}@{after}", f"clean@{after}")
    if not samples or any(name not in line["attacks"] for line in samples for name in names):
        raise AdvvidError(f"the samples hold no results of {column} after {after}: evaluate with postprocess={after}")
    fooled = [
        line
        for line in samples
        if line["clean"] == line["label"] == line["attacks"][names[2]]["pred"] != line["attacks"][column]["pred"]
    ]
    return sum(line["attacks"][names[1]]["pred"] != line["label"] for line in fooled), len(fooled)


def sparse_measures(samples: Sequence[Mapping[str, Any]], column: str) -> SparseMeasures:
    """Return the measures of one column from the lines of ``samples.jsonl``.

    Args:
        samples: each with ``label``, ``clean`` and ``attacks[column]`` of ``pred``, ``steps``, ``distance`` and
            ``seconds``.
        column: the attack's name there.

    Raises:
        AdvvidError: if the column is not in the samples.
    """
    if not samples or any(column not in line["attacks"] for line in samples):
        raise AdvvidError(f"the samples hold no results of {column}: name a column of the run's suite")
    rows = [line["attacks"][column] for line in samples]
    clean = [line["clean"] == line["label"] for line in samples]
    right = [row["pred"] == line["label"] for row, line in zip(rows, samples, strict=True)]
    return SparseMeasures(
        sum(clean),
        fooling_rate(clean, right),
        average_iterations(clean, right, [row["steps"] for row in rows]),
        average_success_perturbation(clean, right, [row["distance"] for row in rows]),
        float(sum(row["seconds"] for row in rows)),
    )


def _fooled(clean_right: ArrayLike, attacked_right: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    clean, attacked = np.asarray(clean_right, dtype=bool), np.asarray(attacked_right, dtype=bool)
    if clean.ndim != 1 or clean.shape != attacked.shape:
        raise AdvvidError(
            f"measures need one clean and one attacked verdict per clip, got {clean.shape} and {attacked.shape}"
        )
    return clean, clean & ~attacked


def _mean_where(chosen: NDArray[np.bool_], values: ArrayLike) -> float | None:
    numbers = np.asarray(values, dtype=float)
    if numbers.shape != chosen.shape:
        raise AdvvidError(f"measures need one value per clip, got {numbers.shape} for {len(chosen)} clips")
    return float(numbers[chosen].mean()) if chosen.any() else None

"""The measures of sparse attacks against examples worked out by hand."""

import pytest

from advvid.core.errors import AdvvidError
from advvid.evaluation.measures import (
    average_absolute_perturbation,
    average_iterations,
    average_success_perturbation,
    fooling_rate,
    sparse_measures,
)

# Five clips: one wrong already, three fooled, one that withstands.
CLEAN = [True, True, True, True, False]
RIGHT = [False, False, False, True, False]
STEPS = [3, 6, 9, 100, 0]
FAR = [0.01, 0.02, 0.06, 0.5, 0.0]


def test_by_hand():
    assert fooling_rate(CLEAN, RIGHT) == 0.75
    assert average_iterations(CLEAN, RIGHT, STEPS) == 6
    assert average_success_perturbation(CLEAN, RIGHT, FAR) == pytest.approx(0.03)
    assert average_absolute_perturbation(CLEAN, RIGHT, FAR, 0.1) == pytest.approx(0.03 * 0.75 + 0.1 * 0.25)


def test_nothing_fooled_and_nothing_to_fool():
    assert fooling_rate([True], [True]) == 0
    assert average_iterations([True], [True], [100]) is None
    assert average_absolute_perturbation([True], [True], [0.3], 0.08) == pytest.approx(0.08)
    assert fooling_rate([False], [False]) is None
    assert average_absolute_perturbation([False], [False], [0.3], 0.08) is None


def test_from_the_lines_of_a_run():
    samples = [
        {
            "label": 1,
            "clean": 1 if c else 0,
            "attacks": {"deep_sava": {"pred": 1 if r else 2, "steps": s, "distance": d, "seconds": 0.5}},
        }
        for c, r, s, d in zip(CLEAN, RIGHT, STEPS, FAR, strict=True)
    ]
    found = sparse_measures(samples, "deep_sava")
    assert (found.clips, found.fooling_rate, found.iterations, found.seconds) == (4, 0.75, 6, 2.5)
    assert found.success_perturbation == pytest.approx(0.03)
    with pytest.raises(AdvvidError, match="no results of sparse"):
        sparse_measures(samples, "sparse")


def test_mismatched_lists_are_refused():
    with pytest.raises(AdvvidError):
        fooling_rate([True], [True, False])
    with pytest.raises(AdvvidError):
        average_iterations([True, True], [True, False], [1])

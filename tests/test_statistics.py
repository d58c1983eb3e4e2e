"""Known answers for the intervals."""

import numpy as np
import pytest

from advvid.core.errors import AdvvidError
from advvid.metrics.statistics import bootstrap_difference, bootstrap_mean, paired_difference, wilson


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        # Newcombe 1998, table I, method 3 (Wilson's score interval).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # The mirror image of 0 out of 20.
        (20, 20, 0.8389, 1.0),
    ],
)
def test_wilson_gives_published_values(right, total, low, high):
    assert wilson(right, total) == pytest.approx((low, high), abs=5e-5)


def test_wilson_knows_nothing_without_clips_and_refuses_nonsense():
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(AdvvidError, match="5 right out of 4"):
        wilson(5, 4)


def test_bootstrap_of_one_column_has_the_spread_of_a_binomial():
    low, high = bootstrap_mean(np.repeat([[1], [0]], [300, 700], axis=0), rng())
    half = 1.96 * (0.3 * 0.7 / 1000) ** 0.5
    assert (low, high) == pytest.approx((0.3 - half, 0.3 + half), abs=2e-3)


def test_bootstrap_keeps_the_columns_of_a_clip_together():
    column = np.repeat([1, 0], [50, 50])
    same = bootstrap_mean(np.stack([column, column], axis=1), rng())
    opposite = bootstrap_mean(np.stack([column, 1 - column], axis=1), rng())
    assert same[1] - same[0] > 0.15
    assert opposite == (0.5, 0.5)  # every clip scores one half, whichever clips are drawn


def test_bootstrap_is_seeded_and_ignores_the_order_of_clips():
    matrix = rng(1).integers(0, 2, (80, 3))
    assert bootstrap_mean(matrix, rng()) == bootstrap_mean(matrix[::-1], rng())
    assert bootstrap_mean(matrix, rng(0)) != bootstrap_mean(matrix, rng(1))


def test_pairing_makes_a_small_difference_visible():
    hard = rng(2).integers(0, 2, 400)
    better = hard.copy()
    better[np.flatnonzero(hard == 0)[:20]] = 1  # 5 percentage points, all in one direction
    difference, (low, high) = bootstrap_difference(better, hard, rng())
    assert difference == pytest.approx(0.05)
    assert low == pytest.approx(0.05 - 1.96 * (0.05 * 0.95 / 400) ** 0.5, abs=4e-3)
    assert low > 0
    unpaired = wilson(int(hard.sum()), 400)
    assert high - low < (unpaired[1] - unpaired[0]) / 2


def test_difference_refuses_other_clips_and_no_clips():
    with pytest.raises(AdvvidError, match="3 and 2"):
        bootstrap_difference([1, 0, 1], [1, 0], rng())
    with pytest.raises(AdvvidError, match="shape"):
        bootstrap_mean(np.zeros((0, 2)), rng())


def test_a_paired_difference_by_hand():
    """1,600 people asked twice: 944 and 880 said yes, 150 the first time only and 86 the second time only."""
    first = np.repeat([1, 1, 0, 0], [794, 150, 86, 570])
    second = np.repeat([1, 0, 1, 0], [794, 150, 86, 570])
    difference, (low, high) = paired_difference(first, second)
    assert difference == pytest.approx(0.04)
    assert (low, high) == (pytest.approx(0.0212, abs=1e-4), pytest.approx(0.0587, abs=1e-4))


@pytest.mark.parametrize("shares", [(0.01, 0.01), (0.1, 0.02), (0.3, 0.3)])
def test_a_paired_difference_covers_the_truth_as_often_as_it_says(shares):
    generator, hits = rng(3), 0
    for _ in range(400):
        drawn = generator.choice([1, -1, 0], size=100, p=[*shares, 1 - sum(shares)])
        _, (low, high) = paired_difference(drawn == 1, drawn == -1)
        hits += low <= shares[0] - shares[1] <= high
    assert hits / 400 > 0.93


def test_agreement_on_every_clip_is_no_certainty():
    _, (low, high) = paired_difference(np.ones(100), np.ones(100))
    assert low == pytest.approx(-high)
    assert 0.02 < high < 0.04
    with pytest.raises(AdvvidError, match="3 and 2"):
        paired_difference([1, 0, 1], [1, 0])

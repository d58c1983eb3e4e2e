"""Intervals of any level, and the p values that go with them."""

import numpy as np
import pytest
from scipy import stats

from advvid.metrics.statistics import bootstrap_difference, paired_difference
from advvid.studies.estimates import drawn, minus, normal, over_seeds, paired


def answers(share, clips=400, seeds=1, spread=0.0, start=0):
    """Right and wrong answers of some trainings, whose accuracies differ by ``spread``."""
    random = np.random.default_rng(start)
    hard = random.random(clips)
    shares = share + spread * random.standard_normal((seeds, 1))
    return (0.7 * hard + 0.3 * random.random((seeds, clips)) < shares).astype(float)


def test_a_p_value_is_below_5_percent_exactly_where_the_interval_leaves_0_out():
    for gap in np.linspace(0, 0.12, 13):
        found = paired(answers(0.5 + gap)[0], answers(0.5, start=1)[0])
        low, high = found.ci95
        assert (found.p < 0.05) == (low > 0 or high < 0)


def test_pairs_have_the_interval_of_the_verdict_and_normal_ones_the_textbooks_p():
    one, two = answers(0.6)[0], answers(0.5, start=1)[0]
    assert paired(one, two).ci95 == paired_difference(one, two)[1]
    assert paired(one / 2, two).ci95 == bootstrap_difference(one / 2, two, np.random.default_rng(0))[1]
    assert normal(2.0, (2 - 1.96, 2 + 1.96)).p == pytest.approx(2 * stats.norm.sf(2), rel=1e-2)
    assert minus(normal(5, (2, 8)), normal(1, (-3, 5))).ci95 == pytest.approx((-1, 9))
    assert drawn(0.5, np.arange(101)).ci95 == pytest.approx((2.5, 97.5))


def test_seeds_that_differ_widen_the_interval():
    other = answers(0.5, seeds=3, start=1)
    alike, apart = (over_seeds(answers(0.6, seeds=3, spread=spread), other) for spread in (0.0, 0.2))
    width = [high - low for low, high in (alike.ci95, apart.ci95)]
    assert width[1] > 2 * width[0]
    assert over_seeds(np.ones((3, 100)), np.ones((3, 100))).ci95[1] > 0  # clips that agree do not say that all do


def test_an_interval_over_seeds_holds_the_truth_as_often_as_it_says():
    """True difference 0: trainings of one method, whose accuracies differ from seed to seed."""
    inside = 0
    for trial in range(200):
        one, two = (answers(0.5, 200, 3, 0.04, 2 * trial + k) for k in (0, 1))
        low, high = over_seeds(one, two).ci95
        inside += low <= 0 <= high
    assert inside >= 184  # of 200; 190 expected


def test_units_and_limits_move_value_and_interval_alike():
    found = normal(0.4, (0.3, 0.5)).times(100)
    assert (found.value, found.ci95) == (40, pytest.approx((30, 50)))
    assert found.above(35).ci95 == pytest.approx((-5, 15))
    assert found.below(55).ci95 == pytest.approx((5, 25))

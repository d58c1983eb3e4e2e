"""Checks are raised by planted faults and stay silent on an honest model."""

import numpy as np
import pytest
import torch
from torch import nn

from advvid.attacks.fgsm import FGSM
from advvid.attacks.pgd import PGD
from advvid.attacks.random_noise import RandomNoise
from advvid.evaluation.checks import model_checks, table_checks
from advvid.evaluation.columns import Column
from advvid.tasks.classification import Classification

N = 100


def right(share):
    return np.arange(N) < share * N


def raised(columns, shares, classes=10):
    verdicts = {"clean": right(1.0)}
    for column, share in zip(columns, shares, strict=True):
        verdicts[column.name] = share if isinstance(share, np.ndarray) else right(share)
    return {c.name for c in table_checks(columns, verdicts, classes) if c.raised}


def pgd(name, **settings):
    return Column(name, PGD(**settings))


@pytest.mark.parametrize(
    ("columns", "honest", "faulty", "name"),
    [
        ([pgd("a", steps=10), pgd("b", steps=20)], (0.40, 0.39), (0.40, 0.45), "more_steps"),
        ([pgd("a", steps=10), pgd("b", steps=20)], (0.40, 0.39), (0.40, 0.30), "converged"),
        ([pgd("a", eps="4/255"), pgd("b", eps="8/255")], (0.4, 0.2), (0.2, 0.4), "larger_budget"),
        ([pgd("a", eps=1.0)], (0.05,), (0.3,), "full_range"),
        ([Column("one", FGSM()), pgd("many")], (0.6, 0.4), (0.4, 0.6), "one_step"),
        ([Column("noise", RandomNoise()), pgd("pgd")], (0.9, 0.4), (0.4, 0.9), "less_knowledge"),
        ([Column("pgd@gray_box", PGD(), "gray_box"), pgd("pgd")], (0.8, 0.4), (0.4, 0.8), "more_access"),
    ],
)
def test_each_check_tells_fault_from_honesty(columns, honest, faulty, name):
    assert name not in raised(columns, honest)
    assert name in raised(columns, faulty)


def test_comparisons_are_clip_by_clip():
    """Equal accuracy hides clips that only the weaker attack fools."""
    columns = [Column("one", FGSM()), pgd("many")]
    assert "one_step" in raised(columns, (right(0.5), ~right(0.5)))


def test_columns_that_differ_in_two_things_are_not_compared():
    columns = [pgd("a", steps=10, restarts=2), pgd("b", steps=20)]
    assert not table_checks(columns, {"clean": right(1), "a": right(0.1), "b": right(0.9)}, 10)


def test_a_loss_that_falls_is_seen_where_accuracy_stands():
    columns = [pgd("a", steps=10), pgd("b", steps=20)]
    verdicts = {"clean": right(1), "a": right(0.5), "b": right(0.5)}
    few = np.full(N, 0.4)
    for factor, expected in ((1.1, False), (0.9, True)):
        found = table_checks(columns, verdicts, 10, {"a": few, "b": few * factor})
        assert [c.raised for c in found if c.name == "loss_falls"] == [expected]
    # The clips that one of them fools left the search early: they say nothing.
    fooled = np.where(right(0.5), 1.0, 0.0)
    assert not any(c.raised for c in table_checks(columns, verdicts, 10, {"a": few + 5 * (1 - fooled), "b": few}))


class Quantised(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, clips):
        return self.inner((clips * 16).round() / 16)


class Saturated(Quantised):
    def forward(self, clips):
        return self.inner(clips).mul(1e4).softmax(dim=1)


class Noisy(Quantised):
    def forward(self, clips):
        return self.inner(clips + 0.1 * torch.randn_like(clips))


@pytest.mark.parametrize(
    ("wrapper", "expected"),
    [
        (nn.Identity, set()),
        (Quantised, {"zero_gradients"}),
        (Saturated, {"zero_gradients", "probabilities"}),
        (Noisy, {"varying_outputs"}),
    ],
)
def test_planted_defenses_are_seen_through(small, clips, wrapper, expected):
    model = nn.Sequential(small, nn.Identity()) if wrapper is nn.Identity else wrapper(small)
    labels = small(clips).argmax(dim=1)
    found = model_checks(model.eval(), clips, labels, Classification())
    assert {c.name for c in found if c.raised} == expected
    assert all(c.condition and c.means and c.remedy for c in found)

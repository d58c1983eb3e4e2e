"""The ratio bound: what counts as inside, and how far a clip went."""

import math

import pytest
import torch

from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.threats.ratio import BoundRegion, RatioBound
from advvid.threats.regions import Border


def test_the_distance_is_the_largest_ratio_either_way():
    x = torch.full((2, 3, 1, 4, 4), 0.5)
    x_adv = x.clone()
    x_adv[0, 0, 0, 0, 0] *= 1.2
    x_adv[1, 0, 0, 0, 0] /= 1.3
    bound = RatioBound(1.25)
    torch.testing.assert_close(bound.distance(x_adv, x), torch.tensor([1.2, 1.3]))
    assert bound.contains(x_adv, x).tolist() == [True, False]


def test_the_l2_distance_is_that_of_the_logarithms():
    x = torch.full((1, 3, 1, 4, 4), 0.5)
    x_adv = x.clone()
    x_adv[0, :2, 0, 0, 0] = torch.tensor([0.5 * math.exp(0.3), 0.5 * math.exp(-0.4)])
    bound = RatioBound(math.exp(0.5), norm="l2")
    assert math.isclose(bound.distance(x_adv, x).log().item(), 0.5, rel_tol=1e-5)
    assert bound.contains(x_adv, x).all()
    assert not RatioBound(math.exp(0.49), norm="l2").contains(x_adv, x).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_black_stays_black(norm):
    x = torch.rand(1, 3, 2, 8, 8)
    x[..., 0] = 0
    bound = RatioBound(3.0, norm=norm)
    projected = bound.project(x + 0.3, x)
    assert (projected[..., 0] == 0).all()
    assert bound.contains(projected, x).all()
    lit = x.clone()
    lit[..., 0, 0] = 1e-6
    assert not bound.contains(lit, x).any()
    dark = x.clone()
    dark[..., 0, 1] = 0
    assert not bound.contains(dark, x).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_nan_is_neither_allowed_nor_hidden_by_projection(norm):
    x = torch.rand(1, 3, 2, 8, 8)
    bad = x.clone()
    bad[0, 0, 0, 0, 0] = math.nan
    bound = RatioBound(1.1, norm=norm)
    assert not bound.contains(bad, x).any()
    assert not bound.contains(bound.project(bad, x), x).any()


def test_a_region_holds_both_its_place_and_its_ratio():
    threat = BoundRegion(Border(1.0, width=10), RatioBound(2.0))
    x = torch.full((3, 3, 1, 32, 32), 0.3)
    x_adv = x.clone()
    x_adv[0, ..., 0] *= 1.9  # on the border, within the ratio
    x_adv[1, ..., 0] *= 2.1  # on the border, too much
    x_adv[2, ..., 16] *= 1.1  # inside the picture
    assert threat.contains(x_adv, x).tolist() == [True, False, False]


@pytest.mark.parametrize(
    "settings", [{"ratio": 0.9}, {"ratio": 1.1, "norm": "l1"}, {"ratio": 2, "space": Space(-2, 2)}]
)
def test_impossible_bounds_are_refused(settings):
    with pytest.raises(AdvvidError):
        RatioBound(**settings)

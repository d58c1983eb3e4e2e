"""Threat sets: projection, ascent, starts, and what counts as inside."""

import math

import pytest
import torch

from advvid.core.batch import Space, clip_generators
from advvid.core.errors import AdvvidError
from advvid.threats.balls import L2Ball, LinfBall, RMSBall
from advvid.threats.base import budget_at
from advvid.threats.frames import Frames
from advvid.threats.pixels import Pixels
from advvid.threats.ratio import BoundRegion, RatioBound
from advvid.threats.rectangles import Rectangles
from advvid.threats.regions import Border, Patch

THREATS = [
    LinfBall(0.1),
    L2Ball(1.5),
    RMSBall(3 / 255),
    Patch(0.5, ratio=0.2),
    Border(1.0, ratio=0.2),
    Border(1.0, width=10),
    Frames(0.1),
    Rectangles(1.0, side=30),
    Rectangles(1.0, per_frame=True),
    Pixels(1.0, count=100),
    RatioBound(1.04),
    RatioBound(20.0, norm="l2"),
    RatioBound(1.033, norm="rms"),
    BoundRegion(Rectangles(1.0), RatioBound(255.0)),
]
IDS = ["a", "b", "c", "d"]


@pytest.fixture(params=THREATS, ids=lambda t: t.budget)
def threat(request):
    return request.param


@pytest.fixture
def x():
    return torch.rand(4, 3, 2, 32, 32, generator=torch.Generator().manual_seed(0))


def test_projection_is_inside_and_idempotent(threat, x):
    aux = threat.sample(x, clip_generators(0, "t", IDS))
    wild = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    once = threat.project(wild, x, aux)
    assert threat.contains(once, x, aux).all()
    assert threat.contains(once, x).all()
    torch.testing.assert_close(threat.project(once, x, aux), once, rtol=0, atol=1e-6)


def test_random_start_is_inside_and_belongs_to_its_clip(threat, x):
    gens = clip_generators(0, "t", IDS)
    aux = threat.sample(x, gens)
    start = threat.random_start(x, gens, aux)
    assert threat.contains(start, x, aux).all()
    assert (start != x).flatten(1).any(dim=1).all()
    alone = clip_generators(0, "t", IDS[2:3])
    aux_alone = threat.sample(x[2:3], alone)
    assert torch.equal(threat.random_start(x[2:3], alone, aux_alone), start[2:3])


def test_ascent_maximises_the_inner_product(threat, x):
    gens = clip_generators(0, "t", IDS)
    aux = threat.sample(x, gens)
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    own = ((threat.ascend(x, grad, 0.01, aux) - x) * grad).flatten(1).sum(1)
    for seed in range(5):
        other = torch.randn(x.shape, generator=torch.Generator().manual_seed(10 + seed))
        step = threat.ascend(x, other, 0.01, aux) - x
        assert (own > (step * grad).flatten(1).sum(1)).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.01, -0.01])
def test_a_bad_value_is_outside(threat, x, value):
    adv = x.clone()
    adv[1, 0, 0, 0, 0] = value
    assert threat.contains(adv, x).tolist()[1] is False


def test_one_grey_level_too_much_is_outside():
    x = torch.full((1, 3, 2, 8, 8), 0.5)
    ball = LinfBall(8 / 255)
    assert ball.contains(x + 8 / 255, x).all()
    assert not ball.contains(x + 9 / 255, x).any()


def test_a_pixel_outside_the_region_is_outside(x):
    patch, border = Patch(1.0, ratio=0.1), Border(1.0, ratio=0.1)
    wide = x.clone()
    wide[:, :, 0, 0, 0] = 1 - wide[:, :, 0, 0, 0]
    wide[:, :, 0, 31, 31] = 1 - wide[:, :, 0, 31, 31]
    assert not patch.contains(wide, x).any()  # two corners fit no single patch
    assert border.contains(wide, x).all()
    middle = x.clone()
    middle[:, :, 1, 16, 16] = 1 - middle[:, :, 1, 16, 16]
    assert patch.contains(middle, x).all()
    assert not border.contains(middle, x).any()


@pytest.mark.parametrize(
    ("height", "width", "ratio", "floor", "sides"),
    [
        (240, 320, 0.10, 7, (75, 101)),
        (240, 320, 0.15, 10, (92, 123)),
        (240, 320, 0.20, 14, (107, 143)),
        (112, 112, 0.10, 2, (35, 35)),
        (112, 112, 0.15, 4, (43, 43)),
        (112, 112, 0.20, 5, (50, 50)),
    ],
)
def test_geometry_of_the_published_evaluation(height, width, ratio, floor, sides):
    assert Border(1.0, ratio=ratio, rounding="floor").thickness(height, width) == floor
    assert Patch(1.0, ratio=ratio).sides(height, width) == sides


@pytest.mark.parametrize(
    ("threat", "shape", "size"),
    [
        (Border(1.0, ratio=0.1, rounding="floor"), (3, 16, 112, 112), "16 x 112 x 112: 2 px, 7.0% of the frame"),
        (Border(1.0, ratio=0.15), (3, 8, 32, 32), "8 x 32 x 32: 1 px, 12.1% of the frame"),
        (Patch(1.0, ratio=0.1), (3, 8, 32, 32), "8 x 32 x 32: 10 x 10 px, 9.8% of the frame"),
        (Pixels(1.0, count=100), (3, 8, 32, 32), "8 x 32 x 32: 8 px, 0.8% of the frame"),
        (L2Ball(2.0), (3, 40, 112, 112), "40 x 112 x 112: 0.416 grey levels root mean square"),
        (L2Ball(2.0), (3, 1, 32, 32), "1 x 32 x 32: 9.2 grey levels root mean square"),
        (L2Ball(1.0, Space(-2, 2)), (10, 10), "10: 0.1 root mean square"),
        (RMSBall(3.25 / 255), (3, 8, 32, 32), "8 x 32 x 32: l2 2"),
        (RatioBound(160, norm="l2"), (3, 8, 32, 32), "8 x 32 x 32: 1.0329 on every value"),
    ],
)
def test_a_budget_says_what_it_comes_to_at_the_size_of_the_clips(threat, shape, size):
    assert f"(at {size})" in budget_at(threat, shape)


def test_what_does_not_depend_on_the_size_says_nothing_of_it():
    for threat in (LinfBall(0.1), Frames(0.1), RatioBound(1.04), RatioBound(1.033, norm="rms")):
        assert budget_at(threat, (3, 8, 32, 32)) == threat.budget


@pytest.mark.parametrize("shape", [(1, 3, 1, 8, 8), (1, 3, 8, 32, 32)])
def test_a_root_mean_square_means_the_same_at_any_size(shape):
    x = torch.full(shape, 0.5)
    rms, ratio = RMSBall(3 / 255), RatioBound(1.033, norm="rms")
    assert rms.contains(x + 3 / 255, x).all()
    assert not rms.contains(x + 3.01 / 255, x).any()
    assert ratio.contains(x * 1.033, x).all()
    assert not ratio.contains(x * 1.034, x).any()
    step = rms.ascend(x, torch.ones_like(x), 1 / 255) - x
    torch.testing.assert_close(step, torch.full_like(x, 1 / 255))
    torch.testing.assert_close(ratio.ascend(x, torch.ones_like(x), 0.01), x * math.exp(0.01))
    n = x[0].numel()
    torch.testing.assert_close(rms.project(x + 0.3, x), L2Ball(3 / 255 * n**0.5).project(x + 0.3, x))


def test_width_scales_with_the_side():
    assert Border(1.0, width=10).thickness(112, 112) == 10
    assert Border(1.0, width=10).thickness(32, 32) == 3


@pytest.mark.parametrize(
    "make", [lambda: Border(1.0, ratio=0), lambda: Border(1.0, width=0), lambda: Patch(1.0, ratio=2)]
)
def test_impossible_regions_are_refused(make):
    with pytest.raises(AdvvidError):
        make()


def test_a_border_of_no_pixel_is_refused():
    with pytest.raises(AdvvidError, match="rounds down to 0 pixels"):
        Border(1.0, ratio=0.1, rounding="floor").thickness(32, 32)


def test_clamping_to_the_box_is_projecting(x):
    """Bit for bit, also where the ball is cut by the range of pixels and where a clip lies far outside."""
    ball = LinfBall(8 / 255)
    far = x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    assert torch.equal(far.clamp(*ball.box(x)), ball.project(far, x))
    assert not torch.equal(far, ball.project(far, x))

"""Flow fields, and what the sparse threats let pass."""

import pytest
import torch

from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.threats.flow import warp
from advvid.threats.sparse import SparseFrames, SparseOffsets

SPACE = Space()


@pytest.fixture
def x():
    return torch.rand(3, 3, 4, 12, 12, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1


def generators(n=3):
    return [torch.Generator().manual_seed(100 + i) for i in range(n)]


def test_no_flow_is_the_identity(x):
    flow = torch.zeros(3, 2, 4, 12, 12)
    torch.testing.assert_close(warp(x, flow), x, atol=2e-6, rtol=0)


def test_a_constant_flow_translates(x):
    flow = torch.zeros(3, 2, 4, 12, 12)
    flow[:, 0], flow[:, 1] = 2, -1
    moved = warp(x, flow)
    # Each pixel takes the one two rows below and one column to the left of it.
    torch.testing.assert_close(moved[..., :10, 1:], x[..., 2:, :-1], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[..., 0, 0], x[..., 2, 0], atol=1e-5, rtol=0)


def test_half_a_pixel_is_the_mean_of_two(x):
    flow = torch.zeros(3, 2, 4, 12, 12)
    flow[:, 1] = 0.5
    torch.testing.assert_close(warp(x, flow)[..., :-1], (x[..., :-1] + x[..., 1:]) / 2, atol=1e-5, rtol=0)


def test_frames_of_other_sizes_move_alike():
    wide = torch.rand(1, 3, 2, 6, 10)
    flow = torch.zeros(1, 2, 2, 6, 10)
    flow[:, 0] = 1
    torch.testing.assert_close(warp(wide, flow)[..., :5, :], wide[..., 1:, :], atol=1e-5, rtol=0)


def test_counts_touched_frames(x):
    x_adv = x.clone()
    x_adv[:, :, 1] += 0.05
    assert SparseFrames(1).contains(x_adv, x).all()
    x_adv[0, 0, 3, 0, 0] += 1e-3
    assert SparseFrames(1).contains(x_adv, x).tolist() == [False, True, True]
    assert SparseFrames(2).contains(x_adv, x).all()


def test_holds_to_the_named_frames(x):
    x_adv = x.clone()
    x_adv[:, :, 1] += 0.05
    assert not SparseFrames(1, only=(0,)).contains(x_adv, x).any()
    assert SparseFrames(1, only=(1,)).contains(x_adv, x).all()
    aux = {"frames": torch.tensor([[0, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)}
    assert SparseFrames(1).contains(x_adv, x, aux).tolist() == [True, True, False]


@pytest.mark.parametrize(("measure", "limit"), [("l21", 0.05), ("ssim", 0.1)])
def test_limits_are_kept_and_checked(x, measure, limit):
    threat = SparseFrames(2, SPACE, measure, limit)
    aux = threat.sample(x, generators())
    start = threat.random_start(x, generators(), aux)
    assert threat.contains(start, x, aux).all()
    assert (threat.distance(start, x) > 0.9 * limit).all()
    assert torch.equal(threat.project(start, x, aux), start)
    assert not SparseFrames(2, SPACE, measure, 0.8 * limit).contains(start, x, aux).any()


def test_range_and_nan_are_refused(x):
    bright, nothing = x.clone(), x.clone()
    bright[:, :, 0] += 1
    nothing[:, :, 0] = torch.nan
    assert not SparseFrames(1).contains(bright, x).any()
    assert not SparseFrames(1).contains(nothing, x).any()


def test_a_flow_must_explain_the_clip(x):
    flow = torch.zeros(3, 2, 4, 12, 12)
    flow[:, :, 2] = 0.7
    moved = x.clone()
    moved[:, :, 2] = warp(x, flow)[:, :, 2]
    threat = SparseFrames(1, pure_flow=True)
    assert threat.contains(moved, x, {"flow": flow}).all()
    assert not threat.contains(moved, x, {"flow": flow * 0.5}).any()
    # 7 pixels at 112 are 0.75 at 12.
    assert SparseFrames(1, flow_limit=7).contains(moved, x, {"flow": flow}).all()
    assert not SparseFrames(1, flow_limit=6).contains(moved, x, {"flow": flow}).any()


def test_offsets_must_be_constant_in_a_frame(x):
    threat = SparseOffsets(1)
    x_adv = x.clone()
    x_adv[:, :, 0] = (x_adv[:, :, 0] + torch.tensor([0.3, -0.2, 0.0])[:, None, None]).clamp(0, 1)
    assert threat.contains(x_adv, x).all()
    x_adv[1, 0, 0, 5, 5] = 0.5
    assert threat.contains(x_adv, x).tolist() == [True, False, True]


def test_a_negative_budget_is_refused():
    with pytest.raises(AdvvidError, match="negative"):
        SparseFrames(1, SPACE, "l21", -0.1)

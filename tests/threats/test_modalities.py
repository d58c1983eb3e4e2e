"""Threats on padded features of several streams: padding stays, each stream keeps its own budget."""

import pytest
import torch

from advvid.attacks.base import in_space
from advvid.attacks.pgd import PGD
from advvid.core.batch import Space, clip_generators
from advvid.core.features import FrameFeatures, valid_frames
from advvid.threats.balls import L2Ball, L2EachBall, LinfBall

SPACE = FrameFeatures(sizes=(6, 2))
THREATS = [LinfBall(0.3, SPACE), L2Ball(0.5, SPACE), L2EachBall(0.5, SPACE)]


@pytest.fixture
def features():
    x = torch.rand(3, 5, 8, generator=torch.Generator().manual_seed(0)) * 4 - 2
    x[0, 3:] = 0
    x[2, 1:] = 0
    return x


def test_padding_is_what_is_all_zero(features):
    assert valid_frames(features).sum(dim=1).tolist() == [3, 5, 1]
    features[1, 0] = 0
    features[1, 0, 7] = 1e-4
    assert valid_frames(features).sum(dim=1).tolist() == [3, 5, 1]


@pytest.mark.parametrize("threat", THREATS, ids=lambda t: type(t).__name__)
def test_no_threat_touches_padding(threat, features):
    padding = ~valid_frames(features)
    start = threat.random_start(features, clip_generators(0, "x", "abc"))
    grad = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    moved = threat.project(threat.ascend(start, grad, 0.4), features)
    for x in (start, moved):
        assert (x[padding] == 0).all()
        assert threat.contains(x, features).all()
        assert (threat.distance(x, features) > 0).all()
    torch.testing.assert_close(threat.project(moved, features), moved)
    if isinstance(threat, LinfBall):
        assert torch.equal(threat.ascend(start, grad, 0.4).clamp(*threat.box(features)), moved)
    touched = moved.clone()
    touched[0, 4, 2] = 1e-3
    assert threat.contains(touched, features).tolist() == [False, True, True]


def test_noise_spends_the_budget_on_the_videos_own_frames(features):
    threat = L2Ball(0.01, SPACE)
    start = threat.random_start(features * 0.9, clip_generators(0, "x", "abc"))
    # In n dimensions the radius is u^(1/n), near 1.
    assert (threat.distance(start, features * 0.9) > 0.008).all()


def test_each_stream_has_a_budget_of_its_own(features):
    threat, x = L2EachBall(0.5, SPACE), features * 0.5
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)) * valid_frames(x)[..., None]
    grad[..., 6:] *= 1e-3
    step = threat.ascend(x, grad, 0.5) - x
    for part, slope in zip(SPACE.parts(step), SPACE.parts(grad), strict=True):
        torch.testing.assert_close(part.flatten(1).norm(dim=1), torch.full((3,), 0.5))
        cosine = torch.nn.functional.cosine_similarity(part.flatten(1), slope.flatten(1))
        torch.testing.assert_close(cosine, torch.ones(3))
    far = threat.project(x + 5 * step * torch.tensor([1.0] * 6 + [0.1] * 2), x)
    rgb, audio = (part.flatten(1).norm(dim=1) for part in SPACE.parts(far - x))
    torch.testing.assert_close(rgb, torch.full((3,), 0.5))
    torch.testing.assert_close(audio, torch.full((3,), 0.25))
    torch.testing.assert_close(threat.distance(far, x), rgb)
    assert threat.contains(far, x).all()
    assert not L2Ball(0.5, SPACE).contains(far, x).any()
    assert not threat.contains(x + 1.01 * step, x).any()


def test_for_clips_it_is_the_l2_ball():
    clips = torch.rand(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    grad = torch.randn(clips.shape, generator=torch.Generator().manual_seed(1))
    one, each = L2Ball(0.5, Space()), L2EachBall(0.5, Space())
    for x in (one, each):
        moved = x.project(x.ascend(clips, grad, 2.0), clips)
        assert x.contains(moved, clips).all()
    assert torch.equal(one.project(one.ascend(clips, grad, 2.0), clips), moved)
    assert torch.equal(*(x.random_start(clips, clip_generators(0, "x", "ab")) for x in (one, each)))


def test_an_attack_takes_the_space_of_the_data():
    attack = in_space(PGD(eps=0.5, norm="l2_each"), SPACE)
    assert attack.threat == L2EachBall(0.5, SPACE)
    assert attack.threat.budget == "l2 0.5 over the clip, in each modality"

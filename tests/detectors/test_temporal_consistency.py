"""The exception index by hand, thresholds by hand, and the joint attack against a detector that it knows."""

import pytest
import torch
from torch import nn

from advvid.core.errors import AdvvidError
from advvid.detectors.joint_attack import JointPGD
from advvid.detectors.temporal_consistency import TemporalConsistency, exception_index, frame_logits, smooth_index
from advvid.detectors.temporal_shuffling import TemporalShuffling
from advvid.detectors.thresholds import choose, judge, roc


@pytest.mark.parametrize(
    ("labels", "index"),
    [
        ([1, 1, 1, 1, 1], 0),
        ([1, 1, 2, 1, 1], 1 / 5),  # one frame that no neighbour agrees with
        ([1, 2, 1, 2, 1], 3 / 5),  # the ends have one neighbour only and do not count
        ([1, 1, 2, 2, 1, 1], 0),  # two frames that agree with each other
        ([1, 2, 3, 4], 2 / 4),
        ([3, 1, 1, 1], 0),
        ([2], 0),
        ([1, 2], 0),
    ],
)
def test_the_index_by_hand(labels, index):
    assert exception_index(torch.tensor([labels])).item() == pytest.approx(index)
    sure = 50 * nn.functional.one_hot(torch.tensor([labels]), 5).float()
    assert smooth_index(sure).item() == pytest.approx(index, abs=1e-6)


def test_the_smooth_index_has_a_gradient_where_the_index_has_none():
    logits = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    smooth_index(logits).sum().backward()
    assert (logits.grad.abs().flatten(1).sum(dim=1) > 0).all()


def test_any_network_reads_frames_that_stand_still(small, clips):
    frames = frame_logits(small, clips)
    still = clips[:, :, 1:2].expand(-1, -1, clips.shape[2], -1, -1)
    assert torch.allclose(frames[:, 1], small(still), atol=1e-6)
    assert frames.shape == (len(clips), clips.shape[2], 5)


def test_verdicts_and_impossible_thresholds():
    detector = TemporalConsistency(gamma_1=0.2, gamma_2=0.4)
    assert detector.verdict(torch.tensor([0.19, 0.2, 0.39, 0.4])).tolist() == [0, 1, 1, 2]
    with pytest.raises(AdvvidError, match=r"gamma_1=0\.5 and gamma_2=0\.4 are not possible"):
        TemporalConsistency(gamma_1=0.5, gamma_2=0.4)


def test_thresholds_by_hand():
    scores, positive = [0.0, 0.1, 0.2, 0.3, 0.4], [False, False, True, False, True]
    one = judge(scores, positive, 0.2)
    assert (one.precision, one.recall) == (pytest.approx(2 / 3), 1.0)
    best, tried = choose(scores, positive, [0.4, 0.2, 0.3])
    assert best.threshold == 0.2
    assert [choice.threshold for choice in tried] == [0.2, 0.3, 0.4]
    # Of the six pairs of a positive and a negative, one stands the wrong way round.
    assert roc(scores, positive)["auc"] == pytest.approx(5 / 6)
    assert roc([0.1], [True])["auc"] is None


class FramesAsClasses(nn.Module):
    """Every frame's class follows the sign of its mean; the clip's is a weighted vote."""

    def per_frame(self, clips):
        level = 200 * (clips.mean(dim=(1, 3, 4)) - 0.5)
        return torch.stack([level, -level], dim=2)

    def forward(self, clips):
        return (self.per_frame(clips) * torch.tensor([1.0, 6, 1, 6, 1]).view(1, 5, 1)).sum(dim=1)


def test_who_knows_the_detector_fools_both():
    """Every other frame is easy to flip, and heavy: the attack that stops there is detected, the joint one turns all."""
    clips = torch.full((3, 3, 5, 8, 8), 0.5 + 4.5 / 255)
    clips[:, :, [1, 3]] = 0.5 + 0.5 / 255
    labels = torch.zeros(3, dtype=torch.int64)
    settings = {"eps": "8/255", "step_size": "1/255", "steps": 20, "random_start": False}
    model = FramesAsClasses()
    few = JointPGD(**settings | {"steps": 3}).run(model, clips, labels)
    assert (few.aux["index"] == 3 / 5).all()
    blind, joint = (JointPGD(**settings, weight=weight).run(model, clips, labels) for weight in (0.0, 50.0))
    for result in (few, blind, joint):
        assert (model(result.x_adv).argmax(dim=1) == 1).all()
        assert JointPGD(**settings).threat.contains(result.x_adv, clips).all()
        assert torch.equal(result.aux["index"], TemporalConsistency().index(model, result.x_adv))
    assert (joint.aux["index"] <= blind.aux["index"]).all()
    assert (joint.aux["index"] == 0).all()


class FramesByPlace(nn.Module):
    """Two classes by a sum of the frames' levels with weights of both signs, which other orders change."""

    def forward(self, clips):
        level = 200 * (clips.mean(dim=(1, 3, 4)) - 0.5)
        score = (level * torch.tensor([3.0, 1, 1, -1, -2])).sum(dim=1)
        return torch.stack([score, -score], dim=1)


def test_who_knows_the_shuffling_fools_in_every_order():
    """The steepest way raises some frames and lowers others, which other orders tell; to lower all of them fools in each."""
    clips = torch.full((2, 3, 5, 4, 4), 0.5 + 1 / 255)
    labels, model, detector = torch.zeros(2, dtype=torch.int64), FramesByPlace(), TemporalShuffling()
    settings = {"eps": "8/255", "step_size": "0.5/255", "steps": 40, "random_start": False, "detector": detector}
    few, joint = (JointPGD(**settings | more).run(model, clips, labels) for more in ({"steps": 6}, {"weight": 50.0}))
    for result in (few, joint):
        assert (model(result.x_adv).argmax(dim=1) == 1).all()
        assert torch.equal(result.aux["index"], detector.index(model, result.x_adv))
    assert (few.aux["index"] >= 0.5).all()
    assert (joint.aux["index"] < 0.5).all()
    sure = 50 * nn.functional.one_hot(torch.tensor([[1, 1, 0, 1, 2]]), 3).float()
    assert (detector.index_of(sure).item(), detector.smooth(sure).item()) == (0.5, pytest.approx(0.5))

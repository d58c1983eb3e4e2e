"""Frame saliency: which frames are touched, how many, and the budget of each."""

import pytest
import torch

from advvid.attacks.frame_saliency import FrameSaliency, saliency
from advvid.attacks.pgd import PGD
from advvid.attacks.problem import Goal
from advvid.core.errors import AdvvidError
from advvid.tasks.classification import Classification
from small_models import LinearModel

REFRESH = {"method": "iterative_refresh", "steps": 5, "step_size": "2/255"}


@pytest.fixture
def linear():
    """A linear model whose weights differ from frame to frame, and clips with known margins."""
    model = LinearModel((3, 6, 4, 4))
    scale = torch.tensor([1.0, 4.0, 0.5, 3.0, 2.0, 0.1]).view(1, 6, 1, 1)
    model.w.data = model.w.data.sign() * scale
    # An eps of 0.01 lowers the margin 2 w.x by 0.96 per unit of a frame's weight.
    margins = torch.tensor([0.5, 5.0, 8.0, 100.0])
    direction = model.w.data / (2 * model.w.data.pow(2).sum())
    return model, 0.5 + margins.view(4, 1, 1, 1, 1) * direction, torch.zeros(4, dtype=torch.int64)


@pytest.mark.parametrize("method", ["iterative", "iterative_refresh"])
def test_touches_the_fewest_frames_in_order_of_saliency(linear, method):
    model, clips, labels = linear
    attack = FrameSaliency(eps=0.01, step_size=0.005, steps=3, method=method)
    result = attack.run(model, clips, labels)
    # Weights in order: frames 1, 3, 4, 0, 2, 5, which lower the margin by 3.84, 2.88, 1.92, 0.96, 0.48, 0.096.
    first, second, third = ({1}, {1, 3}, {1, 3, 4})
    touched = [set(row.nonzero().squeeze(1).tolist()) for row in result.aux["frames"]]
    assert touched == [first, second, third, set(range(6))]
    assert (model(result.x_adv).argmax(1) == torch.tensor([1, 1, 1, 0])).all()
    assert attack.threat.contains(result.x_adv, clips, result.aux).all()


def test_one_shot_is_one_signed_step_over_all_frames(linear):
    model, clips, labels = linear
    attack = FrameSaliency(eps=0.01, step_size="eps", steps=1, method="one_shot")
    torch.testing.assert_close(attack(model, clips, labels), clips - 0.01 * model.w.data.sign(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [1, 2, 4, 6])
@pytest.mark.parametrize("method", ["iterative", "iterative_refresh"])
def test_keeps_the_budget_at_any_batch_size(small, clips, labels, size, method):
    attack = FrameSaliency(eps=0.015, **{**REFRESH, "method": method})
    result = attack.run(small, clips[:size], labels[:size])
    assert ((result.x_adv - clips[:size]).abs() <= 0.015 + 1e-6).all()
    assert attack.threat.contains(result.x_adv, clips[:size], result.aux).all()


def test_each_clip_has_its_own_first_frame(small, clips, labels):
    goal = Goal(Classification(), labels)
    expected = saliency(small, clips, goal).argmax(dim=1)
    assert len(expected.unique()) > 1
    result = FrameSaliency(eps="1/255", steps=2).run(small, clips, labels)
    right = small(clips).argmax(1) == labels
    assert result.aux["frames"].gather(1, expected[:, None])[right].all()


def test_a_clip_that_is_wrong_already_is_left_alone(small, clips, labels):
    for method in ("iterative", "iterative_refresh"):
        result = FrameSaliency(method=method, steps=2).run(small, clips, labels)
        assert torch.equal(result.x_adv[2], clips[2])
        assert result.gradient_calls[2] == 0
        assert not result.aux["frames"][2].any()


def test_fools_whatever_the_search_over_all_frames_fools(small, clips, labels):
    for eps in (0.01, 0.03, 0.1):
        settings = {"eps": eps, "step_size": eps / 5, "steps": 10}
        whole = FrameSaliency(method="one_shot", **settings)(small, clips, labels)
        pgd = PGD(random_start=False, **settings)(small, clips, labels)
        assert torch.equal(whole, pgd)
        few = FrameSaliency(**settings)(small, clips, labels)
        fooled = small(whole).argmax(1) != labels
        assert (small(few).argmax(1) != labels)[fooled].all()


def test_the_refresh_verdicts_do_not_depend_on_early_exit(small, clips, labels):
    verdicts = [
        small(FrameSaliency(eps=0.05, early_exit=early, **REFRESH)(small, clips, labels)).argmax(1) == labels
        for early in (True, False)
    ]
    assert torch.equal(*verdicts)


def test_a_touched_frame_that_aux_does_not_name_is_outside(clips):
    threat = FrameSaliency().threat
    x_adv = clips.clone()
    x_adv[:, :, 1] = (x_adv[:, :, 1] + 0.01).clamp(max=1)
    frames = torch.zeros(6, 4, dtype=torch.bool)
    frames[1:, 1] = True
    assert threat.contains(x_adv, clips, {"frames": frames}).tolist() == [False] + [True] * 5


@pytest.mark.parametrize("settings", [{"method": "two_shot"}, {"restarts": 2}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(AdvvidError):
        FrameSaliency(**settings)

"""Flickering: its objective, its worst case, what its threat allows, and the universal pattern."""

import pytest
import torch
from torch import nn

from advvid.attacks.fitted import Learner
from advvid.attacks.flicker import Descent, describe, margin_hinge
from advvid.attacks.flickering import Flickering
from advvid.attacks.flickering_universal import FittedFlickering, FlickeringUniversal
from advvid.attacks.problem import Goal
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.tasks.classification import Classification
from advvid.threats.offsets import Offsets
from small_models import LinearModel

FREE = {"beta_0": 0.0}


class Brightness(nn.Module):
    """Tells clips by their mean red against their mean blue: any shift in time of an offset works alike."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(20.0))

    def forward(self, clips):
        score = self.gain * (clips[:, 0] - clips[:, 2]).mean(dim=(1, 2, 3))
        return torch.stack([score, -score], dim=1)


def red(number, seed=0, frames=6):
    """Clips that ``Brightness`` answers with 0 by a margin of 0.05 to 0.1 in brightness."""
    generator = torch.Generator().manual_seed(seed)
    clips = 0.4 + 0.2 * torch.rand(number, 3, frames, 8, 8, generator=generator)
    clips[:, 0] += 0.1
    return clips


@pytest.mark.parametrize(("lead", "loss"), [(-0.2, 0.0), (-0.05, 0.0), (-0.025, 0.0125), (0.0, 0.05), (0.5, 0.55)])
def test_the_hinge_is_flat_then_quadratic_then_linear(lead, loss):
    probabilities = torch.tensor([[0.5 + lead / 2, 0.5 - lead / 2]])
    goal = Goal(Classification(), torch.tensor([0]))
    torch.testing.assert_close(margin_hinge(probabilities.log(), goal, 0.05), torch.tensor([loss]))
    towards = Goal(Classification(), torch.tensor([0]), torch.tensor([1]))
    torch.testing.assert_close(margin_hinge(probabilities.log(), towards, 0.05), torch.tensor([loss]))


def test_a_very_sure_model_still_has_a_gradient():
    logits = torch.tensor([[30.0, 0.0]], requires_grad=True)
    margin_hinge(logits, Goal(Classification(), torch.tensor([0])), 0.05).sum().backward()
    assert logits.grad.abs().min() > 0


def test_the_regularisers_of_known_patterns():
    flat = torch.full((1, 3, 6), 0.1)
    blinking = flat * torch.tensor([1.0, -1.0]).repeat(3)
    attack = Flickering(beta_0=2, beta_1=0.1, beta_2=0.9)
    torch.testing.assert_close(attack.penalty(flat), torch.tensor([2 * 0.1 * 0.01]))
    # First differences are 0.2, second ones 0.4.
    torch.testing.assert_close(attack.penalty(blinking), torch.tensor([2 * (0.1 * 0.01 + 0.9 * (0.04 + 0.16))]))
    told = describe(torch.cat([flat, blinking]))
    torch.testing.assert_close(told["thickness"], torch.tensor([0.1, 0.1]))
    torch.testing.assert_close(told["roughness"], torch.tensor([0.0, 0.2]))


def test_steps_follow_the_sign_of_each_frames_gradient():
    model = LinearModel((3, 4, 8, 8))
    model.w.data *= 0.01
    clips = 0.5 + 0.1 * model.w.detach().sign().expand(2, -1, -1, -1, -1)
    result = Flickering(steps=3, early_exit=False, keep="last", **FREE).run(model, clips, torch.zeros(2).long())
    expected = -0.06 * model.w.detach().sum(dim=(2, 3)).sign()
    torch.testing.assert_close(result.aux["pattern"], expected.expand(2, 3, 4))
    torch.testing.assert_close(result.x_adv, clips + expected[..., None, None])


def test_a_heavier_regulariser_thins_the_pattern():
    clips, labels = red(4), torch.zeros(4, dtype=torch.int64)
    thickness = [
        Flickering(beta_0=b, optimizer="adam", step_size=0.005, steps=150, early_exit=False, keep="last")
        .run(Brightness(), clips, labels)
        .aux["thickness"]
        .mean()
        for b in (0.1, 10.0, 1000.0)
    ]
    assert thickness[0] > thickness[1] > thickness[2]


@pytest.mark.parametrize("optimizer", ["sign", "adam"])
def test_fools_a_model_of_brightness_and_stops_there(optimizer):
    clips, labels = red(4), torch.zeros(4, dtype=torch.int64)
    clips[0, 0] = clips[0, 2] - 0.1  # wrong already
    attack = Flickering(optimizer=optimizer, steps=30)
    result = attack.run(Brightness(), clips, labels)
    assert (Brightness()(result.x_adv).argmax(1) == 1).all()
    assert result.gradient_calls[0] == 0
    assert torch.equal(result.x_adv[0], clips[0])
    assert (result.steps < 30).all()
    assert attack.threat.contains(result.x_adv, clips, result.aux).all()
    late = Flickering(optimizer=optimizer, steps=30, early_exit=False)(Brightness(), clips, labels)
    assert (Brightness()(late).argmax(1) == 1).all()


def test_adam_agrees_with_torch():
    start, target = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    own, descend = start.clone(), Descent(0.01, True, torch.zeros_like(start))
    reference = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([reference], lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        (reference - target).pow(4).sum().backward()
        own = descend(own, 4 * (own - target).pow(3))
        optimizer.step()
    torch.testing.assert_close(own, reference.detach(), rtol=1e-4, atol=1e-5)


def test_one_offset_per_frame_and_channel_is_allowed_however_much_is_clamped():
    threat, x = Offsets(), torch.rand(2, 3, 4, 8, 8)
    pattern = torch.randn(2, 3, 4)
    x_adv = threat.apply(x, pattern)
    assert threat.contains(x_adv, x).all()
    assert threat.contains(x_adv, x, {"pattern": pattern}).all()
    assert not threat.contains(x_adv, x, {"pattern": pattern - 0.01}).all()
    assert threat.contains(threat.apply(x, pattern + 5), x).all()


def test_two_offsets_in_a_frame_are_not_allowed():
    threat, x = Offsets(), 0.3 + 0.4 * torch.rand(3, 3, 4, 8, 8)
    x_adv = x + 0.1
    x_adv[0, 0, 0, 0, 0] += 1 / 255
    x_adv[1, 0, 0, 0, 0] = 1.0  # too bright for an offset of 0.1
    assert threat.contains(x_adv, x).tolist() == [False, False, True]
    # The first frame says +0.1; a pixel at 0 that was not near 0 contradicts it.
    x_adv[2, 0, 0, 0, 0] = 0.0
    assert not threat.contains(x_adv, x)[2]


class TestUniversal:
    """One pattern for a set of clips."""

    def fitted(self, **settings):
        loader = [Batch(red(8, seed), torch.zeros(8, dtype=torch.int64), list("abcdefgh")) for seed in (1, 2)]
        attack = FlickeringUniversal(**{"steps": 40, "beta_2": 0.1, **settings})
        return attack.fit(Brightness(), loader, torch.Generator().manual_seed(0))

    def test_fools_unseen_clips_at_any_shift(self):
        clips, labels, model = red(6, seed=9), torch.zeros(6, dtype=torch.int64), Brightness()
        assert (model(clips).argmax(1) == 0).all()
        fitted = self.fitted()
        pattern = fitted.state_dict()["pattern"]
        for shift in range(6):
            moved = fitted.threat.apply(clips, pattern.roll(shift, 1).expand(6, -1, -1))
            assert (model(moved).argmax(1) == 1).all()
        result = fitted.run(model, clips, labels)
        assert (model(result.x_adv).argmax(1) == 1).all()
        assert fitted.threat.contains(result.x_adv, clips, result.aux).all()
        assert result.gradient_calls.sum() == 0
        rolls = [pattern.roll(shift, 1) for shift in range(6)]
        assert all(any(torch.equal(row, roll) for roll in rolls) for row in result.aux["pattern"])

    def test_works_on_longer_and_shorter_clips(self):
        fitted = self.fitted()
        for frames in (1, 4, 15):
            clips = red(2, frames=frames)
            result = fitted.run(Brightness(), clips, torch.zeros(2).long())
            assert fitted.threat.contains(result.x_adv, clips, result.aux).all()

    def test_the_state_restores_the_attack(self):
        first, second = self.fitted(), FittedFlickering(source=FlickeringUniversal())
        with pytest.raises(AdvvidError, match="no pattern"):
            second(Brightness(), red(1), torch.zeros(1).long())
        second.load_state_dict(first.state_dict())
        clips, labels = red(3), torch.zeros(3, dtype=torch.int64)
        one, two = (
            attack.run(Brightness(), clips, labels, [torch.Generator().manual_seed(i) for i in range(3)]).x_adv
            for attack in (first, second)
        )
        assert torch.equal(one, two)

    def test_takes_bytes_and_leaves_the_model_alone(self):
        model = Brightness()
        model.gain.grad = torch.tensor(3.0)
        batch = Batch((red(2) * 255).to(torch.uint8), torch.zeros(2).long(), ["a", "b"])
        FlickeringUniversal(steps=3).fit(model, [batch], torch.Generator())
        assert model.gain.grad == 3
        assert model.gain.requires_grad

    def test_an_iterator_teaches_as_much_as_a_list(self):
        assert isinstance(FlickeringUniversal(), Learner)
        batches = [Batch(red(2, seed), torch.zeros(2).long(), ["a", "b"]) for seed in (1, 2)]
        attack = FlickeringUniversal(steps=5)
        listed, once = (
            attack.fit(Brightness(), loader, torch.Generator().manual_seed(0)).state_dict()["pattern"]
            for loader in (batches, iter(batches))
        )
        assert torch.equal(listed, once)

    def test_a_loader_without_clips_is_refused(self):
        with pytest.raises(AdvvidError, match="at least one batch"):
            FlickeringUniversal().fit(Brightness(), [], torch.Generator())


@pytest.mark.parametrize(
    "settings", [{"beta_0": -1}, {"margin": 0}, {"optimizer": "sgd"}, {"keep": "best"}, {"targeted": "first"}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(AdvvidError):
        Flickering(**settings)


def test_a_task_without_one_label_per_clip_is_refused():
    class Several(Classification):
        def correct(self, out, target):
            return torch.ones(len(out), dtype=torch.bool)

    with pytest.raises(AdvvidError, match="one label per clip"):
        Flickering(steps=1).run(Brightness(), red(2), torch.zeros(2, 5), task=Several())

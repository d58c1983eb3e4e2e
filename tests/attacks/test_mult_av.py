"""MultAV: its update, its worst case, and its five forms."""

import math

import pytest
import torch

from advvid.attacks.mult_av import MultAV
from advvid.core.errors import AdvvidError
from small_models import LinearModel

FORMS = ["linf", "l2", "roa", "af", "spa"]


@pytest.fixture
def linear():
    """A linear model with small weights, and clips away from both ends of the range."""
    model = LinearModel((3, 2, 32, 32))
    model.w.data *= 0.01
    clips = 0.2 + 0.5 * torch.rand(3, 3, 2, 32, 32, generator=torch.Generator().manual_seed(3))
    return model, clips, torch.zeros(3, dtype=torch.int64)


def test_one_step_multiplies_by_the_step_ratio(linear):
    model, clips, labels = linear
    x_adv = MultAV(steps=1, early_exit=False)(model, clips, labels)
    torch.testing.assert_close(x_adv, clips * 1.01 ** (-model.w.detach().sign()))


def test_steps_reach_the_worst_case_of_the_ratio_bound(linear):
    model, clips, labels = linear
    x_adv = MultAV(early_exit=False)(model, clips, labels)
    torch.testing.assert_close(x_adv, clips * 1.04 ** (-model.w.detach().sign()))


def test_one_l2_step_follows_the_unit_gradient(linear):
    model, clips, labels = linear
    x_adv = MultAV(form="l2", ratio=160, step_ratio=3, steps=1, early_exit=False)(model, clips, labels)
    w = model.w.detach()
    torch.testing.assert_close(x_adv, clips * 3 ** (-w / w.norm()), rtol=1e-4, atol=1e-6)


def test_l2_steps_stop_at_the_bound(linear):
    model, clips, labels = linear
    attack = MultAV(form="l2", ratio=3, step_ratio=2, steps=5, early_exit=False)
    far = attack.threat.distance(attack(model, clips, labels), clips)
    torch.testing.assert_close(far, torch.full((3,), 3.0), rtol=1e-4, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_black_pixels_never_change(small, clips, labels, form):
    clips = clips.clone()
    clips[..., ::2] = 0
    attack = MultAV(form=form, ratio=255, step_ratio=3, random_start=True)
    result = attack.run(small, clips, labels)
    assert (result.x_adv[..., ::2] == 0).all()
    assert attack.threat.contains(result.x_adv, clips, result.aux).all()


@pytest.mark.parametrize(("form", "share"), [("roa", 81 / 1024), ("af", 1 - 26**2 / 1024), ("spa", 8 / 1024)])
def test_a_region_of_the_additive_attacks_size_takes_any_colour(linear, form, share):
    model, clips, labels = linear
    result = MultAV(form=form, ratio=255, step_ratio=3, early_exit=False).run(model, clips, labels)
    mask = result.aux["mask"].expand(3, 1, 2, 32, 32)
    assert math.isclose(mask.float().mean(), share, rel_tol=1e-5)
    assert torch.equal((result.x_adv != clips).any(dim=1, keepdim=True), mask)
    bright, dark = (mask & (model.w < 0)), (mask & (model.w > 0))
    assert (result.x_adv[bright] == 1).all()
    torch.testing.assert_close(result.x_adv[dark], clips[dark] / 243, rtol=1e-4, atol=0)  # five steps of 3


def test_more_ratio_is_stronger(small, clips, labels):
    loss = torch.nn.functional.cross_entropy
    with torch.no_grad():
        losses = [
            loss(small(MultAV(ratio=r, step_ratio=1 + (r - 1) / 4, early_exit=False)(small, clips, labels)), labels)
            for r in (1.0, 1.02, 1.1, 1.3)
        ]
    assert losses == sorted(losses)
    assert losses[0] < losses[-1]


@pytest.mark.parametrize("settings", [{"form": "l1"}, {"ratio": 0.5}, {"step_ratio": 0.9}, {"step_ratio": 0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(AdvvidError):
        MultAV(**settings)

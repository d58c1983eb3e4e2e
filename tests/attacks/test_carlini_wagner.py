"""Carlini-Wagner l2: closed form on a linear model, torchattacks on a trained network, clips kept apart."""

import pytest
import torch
from toy import accuracy, trained

from advvid.attacks.carlini_wagner import CarliniWagner
from advvid.attacks.hyperplane import lengths
from advvid.attacks.logits import margin
from advvid.core.errors import AdvvidError
from small_models import LinearModel

SHAPE = (3, 2, 4, 4)


def some(n):
    model, clips, labels = trained()
    return model, clips[:n], labels[:n]


def test_finds_the_smallest_change_of_a_linear_model():
    model = LinearModel(SHAPE)
    clips = 0.4 + 0.2 * torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(3))
    labels = model(clips).argmax(dim=1)
    result = CarliniWagner(step_size=0.003).run(model, clips, labels)
    closest = margin(model(clips), labels) / (2 * model.w.norm())
    assert (model(result.x_adv).argmax(dim=1) != labels).all()
    assert (result.aux["norm"] >= 0.999 * closest).all()
    assert (result.aux["norm"] <= 1.1 * closest + 1e-3).all()


def test_needs_no_larger_changes_than_torchattacks_with_one_constant_and_smaller_ones_with_several():
    torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is missing: install the extra peers")
    model, clips, labels = some(6)
    theirs = torchattacks.CW(model, c=1, kappa=0, steps=40, lr=0.01)(clips, labels)
    far = lengths(theirs - clips, "l2")
    fooled = model(theirs).argmax(1) != labels
    once = CarliniWagner(searches=1, constant=1.0, steps=40).run(model, clips, labels)
    more = CarliniWagner(searches=4, constant=1.0, steps=40).run(model, clips, labels)
    assert fooled.any()
    assert once.aux["norm"][fooled].mean() <= 1.02 * far[fooled].mean()
    assert (more.aux["norm"] <= once.aux["norm"] + 1e-6).all()
    assert more.aux["norm"][fooled].mean() < 0.97 * once.aux["norm"][fooled].mean()


def test_each_clip_has_its_own_constant():
    model, clips, labels = some(4)
    attack = CarliniWagner(searches=3, steps=15)
    together = attack.run(model, clips, labels).aux["norm"]
    alone = torch.cat([attack.run(model, clips[i : i + 1], labels[i : i + 1]).aux["norm"] for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


def test_a_budget_is_kept_and_saves_work():
    model, clips, labels = some(8)
    settings = {"searches": 3, "steps": 30, "constant": 1.0}
    free = CarliniWagner(**settings).run(model, clips, labels)
    eps = float(free.aux["norm"].median()) * 1.05
    bound = CarliniWagner(eps=eps, **settings).run(model, clips, labels)
    far = lengths(bound.x_adv - clips, "l2")
    assert (far <= eps * 1.0001).all()
    fooled = model(bound.x_adv).argmax(1) != labels
    assert fooled[free.aux["norm"] <= eps].all()
    assert bound.gradient_calls[fooled].sum() < free.gradient_calls[fooled].sum()


def test_goes_to_a_given_target_with_confidence():
    model, clips, labels = some(6)
    targets = (labels + 1) % 5
    plain, sure = (
        CarliniWagner(constant=10.0, searches=3, steps=60, confidence=c).run(model, clips, labels, targets=targets)
        for c in (0.0, 0.5)
    )
    assert accuracy(model, plain.x_adv, targets) > 0.8
    done = sure.aux["norm"].isfinite()
    assert done.float().mean() > 0.6
    assert (margin(model(sure.x_adv), labels, targets)[done] <= -0.49).all()


def test_a_clip_that_is_wrong_already_needs_no_change():
    model, clips, labels = some(2)
    result = CarliniWagner(steps=3).run(model, clips, (labels + 1) % 5)
    assert torch.equal(result.x_adv, clips)
    assert (result.aux["norm"] == 0).all()
    assert (result.gradient_calls == 0).all()


def test_impossible_settings_are_refused_in_words():
    with pytest.raises(AdvvidError, match="norm='linf' is not possible for CarliniWagner"):
        CarliniWagner(norm="linf")
    with pytest.raises(AdvvidError, match="constant=0 is not possible: choose a number above 0"):
        CarliniWagner(constant=0)

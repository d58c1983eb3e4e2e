"""PGD against known answers: closed forms on a linear model, torchattacks on a 3-D network."""

import dataclasses

import pytest
import torch

from advvid.attacks.fgsm import FGSM
from advvid.attacks.frame_border import FrameBorder
from advvid.attacks.masked_pgd import MaskedPGD
from advvid.attacks.mi_fgsm import MIFGSM
from advvid.attacks.mult_av import MultAV
from advvid.attacks.pgd import PGD
from advvid.attacks.roa import ROA
from advvid.attacks.salt_and_pepper import SaltAndPepper
from advvid.core.errors import AdvvidError
from small_models import LinearModel

SHAPE = (3, 2, 4, 4)


def margins(model, clips, labels):
    out = model(clips)
    return (out.gather(1, labels[:, None]) - out.gather(1, 1 - labels[:, None])).squeeze(1)


@pytest.mark.parametrize(("norm", "eps", "step"), [("linf", 8 / 255, 2 / 255), ("l2", 0.5, 0.1)])
def test_reaches_the_closed_form_worst_case_on_a_linear_model(norm, eps, step):
    model = LinearModel(SHAPE)
    clips = 0.5 + 0.05 * torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(3))  # far from the box's walls
    labels = torch.tensor([0, 1, 0, 1])
    attack = PGD(eps=eps, step_size=step, steps=100, norm=norm, early_exit=False)
    found = margins(model, attack(model, clips, labels), labels)
    dual = model.w.abs().sum() if norm == "linf" else model.w.norm()
    torch.testing.assert_close(found, margins(model, clips, labels) - 2 * eps * dual, rtol=1e-4, atol=1e-4)


def test_agrees_with_torchattacks(small, clips, labels):
    torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is missing: install the extra peers")
    settings = {"eps": 8 / 255, "steps": 10}
    ours = PGD(step_size=2 / 255, random_start=False, early_exit=False, keep="last", **settings)(small, clips, labels)
    theirs = torchattacks.PGD(small, alpha=2 / 255, random_start=False, **settings)(clips, labels)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_early_exit_changes_no_verdict_and_saves_gradients(small, clips, labels):
    hard, easy = (PGD(eps="2/255", steps=10, early_exit=e).run(small, clips, labels, gens()) for e in (False, True))
    assert torch.equal(small(hard.x_adv).argmax(1) != labels, small(easy.x_adv).argmax(1) != labels)
    assert easy.gradient_calls.sum() < hard.gradient_calls.sum()
    assert (hard.gradient_calls == 10).all()


def test_a_wrong_clip_leaves_at_once(small, clips, labels):
    result = PGD(random_start=False).run(small, clips, labels)
    assert result.steps[2] == 0
    assert torch.equal(result.x_adv[2], clips[2])


def test_restarts_never_weaken(small, clips, labels):
    once, many = (
        PGD(eps="1/255", steps=3, restarts=r, early_exit=False).run(small, clips, labels, gens()) for r in (1, 5)
    )
    loss = torch.nn.functional.cross_entropy
    assert (
        loss(small(many.x_adv), labels, reduction="none") >= loss(small(once.x_adv), labels, reduction="none") - 1e-6
    ).all()


def test_targeted_search_goes_to_the_target(small, clips, labels):
    def share(x, wanted):
        return small(x).softmax(dim=1).gather(1, wanted[:, None])

    settings = {"eps": 0.5, "step_size": 0.05, "steps": 30}
    least = small(clips).argmin(dim=1)
    given = PGD(**settings).run(small, clips, labels, targets=least)
    chosen = PGD(targeted="least_likely", **settings).run(small, clips, labels)
    for result in (given, chosen):
        assert (share(result.x_adv, least) > 2 * share(clips, least)).all()
    linear = LinearModel(SHAPE)
    x, y = torch.full((2, *SHAPE), 0.5), torch.tensor([0, 1])
    assert torch.equal(linear(PGD(targeted="random", **settings)(linear, x, y)).argmax(1), 1 - y)


def test_fgsm_is_one_signed_step(small, clips, labels):
    x = clips.clone().requires_grad_()
    (grad,) = torch.autograd.grad(torch.nn.functional.cross_entropy(small(x), labels, reduction="sum"), x)
    adv = FGSM(eps="4/255", early_exit=False)(small, clips, labels)
    torch.testing.assert_close(adv, (clips + 4 / 255 * grad.sign()).clamp(0, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"eps": 8}, "eps=8 is not a possible l-inf budget"),
        ({"eps": "eight"}, "eps='eight' is not possible"),
        ({"step_size": "best"}, "step_size='best' is not known"),
        ({"steps": -1}, "steps=-1 is not possible"),
        ({"norm": "l7"}, "norm='l7' is not known"),
        ({"targeted": "all"}, "targeted='all' is not known"),
    ],
)
def test_impossible_settings_are_refused_in_words(settings, words):
    with pytest.raises(AdvvidError, match=words.replace("'", ".").replace("(", ".")):
        PGD(**settings)


def test_normalised_clips_are_refused(small, clips, labels):
    with pytest.raises(AdvvidError, match="normalise inside the model"):
        PGD()(small, clips * 2 - 1, labels)


def gens(seed=5, n=6):
    return [torch.Generator().manual_seed(seed + i) for i in range(n)]


def test_a_given_class_is_the_target(small, clips, labels):
    attack = PGD(eps=0.3, step_size=0.02, steps=60, targeted=3)
    reached = small(attack(small, clips, labels)).argmax(dim=1)
    wanted = torch.where(labels == 3, 4, 3)
    assert (reached == wanted).float().mean() > 0.8
    with pytest.raises(AdvvidError, match="targeted=5 is no class: the model knows 0 to 4"):
        PGD(targeted=5)(small, clips, labels)
    with pytest.raises(AdvvidError, match="targeted=-1 is not possible"):
        PGD(targeted=-1)


@pytest.mark.parametrize(
    "attack",
    [
        PGD(random_start=False),
        MIFGSM(),
        MaskedPGD(random_start=False, location="fixed"),
        MultAV(),
        FrameBorder(random_start=False),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_restarts_that_would_repeat_the_search_are_refused(attack):
    with pytest.raises(AdvvidError, match="restarts would repeat the same search: set restarts=1 or random_start=true"):
        dataclasses.replace(attack, restarts=2)


@pytest.mark.parametrize("attack", [PGD(), ROA(), SaltAndPepper(), MaskedPGD(random_start=False), MultAV(form="roa")])
def test_restarts_from_another_start_or_place_are_taken(attack):
    assert dataclasses.replace(attack, restarts=2).restarts == 2

"""Defenses against their equations: budgets over time, eq. 8's distribution, degenerate settings, reach of gradients."""

import dataclasses

import pytest
import torch

from advvid.attacks.frame_border import FrameBorder
from advvid.attacks.pgd import PGD
from advvid.attacks.random_noise import RandomNoise
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.defenses.aat import AAT, AATTypes
from advvid.defenses.at import AT
from advvid.defenses.base import Step
from advvid.defenses.cat import CAT
from advvid.defenses.none import NoDefense
from small_models import LinearModel

ATTACKS = {"pgd": PGD()}
TYPES = {"pgd": PGD(), "border": FrameBorder()}


def step(epoch=0, epochs=21, iteration=0, iterations=10):
    return Step(epoch, epochs, iteration, iterations, seed=0)


@pytest.fixture
def batch(clips, labels):
    return Batch(clips, labels, list("abcdef"))


@pytest.mark.parametrize(
    ("defense", "attacks"),
    [(NoDefense(), ATTACKS), (AT(), ATTACKS), (CAT(), ATTACKS), (AAT(), ATTACKS), (AATTypes(), TYPES)],
    ids=lambda value: type(value).__name__,
)
def test_the_loss_is_finite_and_reaches_every_weight(defense, attacks, small, batch):
    small.train()
    loss, logs = defense.objective(small, batch, attacks, step(epoch=20))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in small.parameters() if p.dim() > 1)
    assert logs["correct"].shape == (6,)
    assert float(logs["passes"]) >= 1


@pytest.mark.parametrize(
    "defense", [AT(), CAT(eps_from=0, eps_to=0), AAT(budgets=[0, "1/255"])], ids=lambda d: type(d).__name__
)
def test_without_a_budget_it_is_plain_training(defense, small, batch):
    attack = {"pgd": PGD(eps=0.0)}
    if isinstance(defense, AAT):
        defense.probabilities = {"0/255": 1.0, "1/255": 0.0}
    small.train()
    plain, _ = NoDefense().objective(small, batch, attack, step())
    other, logs = defense.objective(small, batch, attack, step())
    assert torch.equal(plain, other)
    assert float(logs["passes"]) == 1


def test_at_raises_the_loss_and_counts_its_passes(small, batch):
    small.eval()
    plain, _ = NoDefense().objective(small, batch, ATTACKS, step())
    hard, logs = AT(inner_steps=4).objective(small, batch, ATTACKS, step())
    assert hard > plain
    assert float(logs["passes"]) == 5


def test_at_learns_from_the_worst_case_that_a_linear_model_has_in_closed_form(clips, labels):
    model, labels = LinearModel(clips.shape[1:]), labels % 2
    model.w.data *= 1e-3  # no softmax is so sure that its gradient vanishes
    attack = PGD(eps="8/255", early_exit=False, keep="last")
    loss, _ = AT(inner_steps=8, inner_step_size="4/255").objective(
        model, Batch(clips, labels, list("abcdef")), {"pgd": attack}, step()
    )
    away = torch.where(labels == 0, -1.0, 1.0).view(-1, 1, 1, 1, 1) * model.w.detach().sign()
    worst = (clips + 8 / 255 * away).clamp(0, 1)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(model(worst), labels))


@pytest.mark.parametrize("inner_mode", ["eval", "train"])
def test_crafting_moves_no_statistics(small, batch, inner_mode):
    small.train()
    before = small.body[1].running_mean.clone()
    AT(inner_mode=inner_mode).craft(small, batch, PGD(), step())
    assert torch.equal(before, small.body[1].running_mean)
    assert small.training


def test_a_step_repeats_exactly(small, batch):
    first, second = (AT().objective(small.train(), batch, ATTACKS, step())[0] for _ in range(2))
    # BatchNorm's running statistics differ by now, batch statistics and the attack's start do not.
    assert torch.equal(AT().craft(small, batch, PGD(), step()).x_adv, AT().craft(small, batch, PGD(), step()).x_adv)
    assert torch.isfinite(first + second)


def test_cat_rises_linearly_and_holds():
    cat = CAT(eps_from=0, eps_to="12/255", hold=0.5)
    budgets = [255 * cat.budget(step(epoch)) for epoch in range(21)]
    assert budgets[0] == 0
    assert budgets[5] == pytest.approx(6)
    assert budgets[10:] == pytest.approx([12] * 11)


def test_cat_falls_by_iteration():
    cat = CAT(eps_from="12/255", eps_to=0, unit="iteration")
    assert 255 * cat.budget(step(0)) == pytest.approx(12)
    assert cat.budget(step(20, iteration=9)) == 0
    assert cat.budget(step(10, iteration=1)) < cat.budget(step(10, iteration=0))


def test_cat_spends_steps_in_proportion():
    cat = CAT(eps_to="12/255", inner_steps=5)
    assert [cat.inner_at(PGD(), step(e)).steps for e in (1, 10, 20)] == [1, 3, 5]
    assert dataclasses.replace(cat, scale_steps=False).inner_at(PGD(), step(1)).steps == 5


def test_aat_follows_equation_8_on_its_schedule():
    aat = AAT(budgets=[0, "6/255", "12/255"], xi=10)
    assert aat.interval(60, 3) == 10
    assert aat.interval(21, 7) == 3
    assert aat.interval(2, 7) == 1  # never zero
    losses = {0.0: 1.0, 6 / 255: 2.0, 12 / 255: 5.0}
    asked = []

    def measure(attack, split):
        asked.append(split)
        return losses[attack.eps]

    assert aat.end_epoch(ATTACKS, step(0, epochs=30), measure) == {}
    aat.end_epoch(ATTACKS, step(9, epochs=30), measure)
    assert aat.probabilities == pytest.approx({"0/255": 0.125, "6/255": 0.25, "12/255": 0.625})
    assert set(asked) == {"val"}
    copy = AAT(budgets=[0, "6/255", "12/255"])
    copy.load_state_dict(aat.state_dict())
    assert copy.probabilities == aat.probabilities


def test_aat_starts_at_random_by_seed():
    first = AAT().describe(ATTACKS, step())["probabilities"]
    assert sum(first.values()) == pytest.approx(1)
    assert len(set(first.values())) == 7
    assert first == AAT().describe(ATTACKS, step())["probabilities"]


def test_aat_draws_as_its_distribution_says(small, batch):
    aat = AATTypes()
    aat.probabilities = {"pgd": 0.0, "border": 1.0}
    for iteration in range(3):
        _, logs = aat.objective(small, batch, TYPES, step(iteration=iteration))
        assert float(logs["passes"]) == 6


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AT().check(TYPES, 1), "trains against one attack but got 2"),
        (lambda: AATTypes().check(ATTACKS, 1), "draws among several attacks but got one"),
        (lambda: CAT(eps_to=2.0).check(ATTACKS, 1), "not a possible l-inf budget"),
        (lambda: CAT(hold=1), "hold=1 is not possible"),
        (lambda: CAT(unit="year"), "unit='year' is not known"),
        (lambda: AAT(budgets=["8/255"]), "budgets=.* is not possible"),
        (lambda: AT(inner_steps=0), "inner_steps=0 is not possible"),
        (lambda: AT(inner_step_size="big"), "step_size='big' is not known"),
        (lambda: AT(inner_mode="both"), "inner_mode='both' is not known"),
    ],
)
def test_impossible_settings_are_refused_in_words(make, words):
    with pytest.raises(AdvvidError, match=words):
        make()


def test_noise_may_be_trained_against(small, batch):
    loss, logs = AT().objective(small, batch, {"noise": RandomNoise()}, step())
    assert torch.isfinite(loss)
    assert float(logs["passes"]) == 1

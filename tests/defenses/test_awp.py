"""AWP: the gradient of w is the one at w + v, and w is never written."""

import copy

import pytest
import torch
from training_steps import random_batch, step

from advvid.attacks.pgd import PGD
from advvid.config.composed import composed
from advvid.config.instantiate import safe_instantiate
from advvid.core.errors import AdvvidError
from advvid.defenses.avg import AVG
from advvid.defenses.awp import AWP
from advvid.defenses.free_at import FreeAT
from advvid.defenses.mart import MART
from advvid.defenses.trades import TRADES

ATTACKS = {"pgd": PGD()}


@pytest.mark.parametrize("over", [None, TRADES(), MART()], ids=["at", "trades", "mart"])
def test_the_gradient_is_the_one_at_the_perturbed_weights(over, small):
    batch, gamma = random_batch(0), 0.1
    small.train()
    with torch.no_grad():
        small.head.weight.div_(10)  # probabilities away from 0 and 1, where rounding decides
    defense = AWP(gamma=gamma, over=over)
    below = over or AWP(gamma=0)
    made = defense.prepare(small, batch, ATTACKS, step())

    other = copy.deepcopy(small)
    below.fit(copy.deepcopy(other), batch, made, step())  # a look ahead must not move anything
    ahead = copy.deepcopy(small)
    below.fit(ahead, batch, made, step())[0].backward()
    with torch.no_grad():
        for weight, seen in zip(other.parameters(), ahead.parameters(), strict=True):
            if weight.dim() > 1:
                v = gamma * weight.norm() * seen.grad / seen.grad.norm()
                assert float(v.norm()) == pytest.approx(gamma * float(weight.norm()), rel=1e-5)
                weight += v
    loss_known, _ = below.fit(other, batch, made, step())
    loss_known.backward()

    before = {name: value.clone() for name, value in small.named_parameters()}
    loss, _ = defense.fit(small, batch, made, step())
    loss.backward()
    assert loss.item() == pytest.approx(loss_known.item(), rel=1e-5)
    assert all(torch.equal(before[name], value) for name, value in small.named_parameters())
    for mine, known in zip(small.parameters(), other.parameters(), strict=True):
        assert torch.allclose(mine.grad, known.grad, rtol=1e-3, atol=1e-5)
    for mine, known in zip(small.buffers(), other.buffers(), strict=True):
        assert torch.allclose(mine, known, atol=1e-6)  # moved once, at the perturbed weights
    assert loss > below.fit(copy.deepcopy(small), batch, made, step())[0]


def test_frozen_weights_stay_out(small):
    small.head.weight.requires_grad_(False)
    loss, _ = AWP().objective(small.train(), random_batch(0), ATTACKS, step())
    loss.backward()
    assert small.head.weight.grad is None
    assert small.body[0].weight.grad.abs().sum() > 0


def test_the_variant_over_trades_follows_the_outer_inner_attack():
    cfg = composed(["defense=awp_trades", "defense.inner_steps=3", "defense.over.beta=2"])
    defense = safe_instantiate(cfg.defense)
    assert isinstance(defense.over, TRADES)
    assert (defense.over.inner_steps, defense.over.beta) == (3, 2)


@pytest.mark.parametrize("name", ["mart", "avg", "fgsm_rs"])
def test_any_defense_of_its_kind_may_be_put_below_on_the_command_line(name):
    settings = ["defense.inner_step_size=own"] if name == "avg" else []
    cfg = composed(["defense=awp", f"+defense@defense.over={name}", *settings])
    defense = safe_instantiate(cfg.defense)
    assert type(defense.over).__name__.lower() == name.replace("_", "")
    assert defense.attacks == defense.over.attacks


def test_it_keeps_the_state_of_what_lies_below():
    from advvid.defenses.fgsm_rs import FGSMRS

    awp = AWP(over=FGSMRS())
    awp.over.warned = True
    other = AWP(over=FGSMRS())
    other.load_state_dict(awp.state_dict())
    assert other.over.warned


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AWP(gamma=-1), r"gamma=-\S+ is not possible"),
        (lambda: AWP(warmup=-1), "warmup=-1 is not possible"),
        (lambda: AWP(warmup=3).check(ATTACKS, 3), "leaves no epoch"),
        (lambda: AWP(over=FreeAT()), "FreeAT cannot be trained at other weights"),
        (lambda: AWP(over=AWP()), "AWP cannot be trained at other weights"),
        (lambda: AWP(over=TRADES(inner_steps=7)), "defense.over.inner_steps=7 differ"),
        (lambda: AWP(over=AVG()), "inner_step_size"),
        (lambda: AWP(over=TRADES()).check({"a": PGD(), "b": PGD()}, 3), "defense=trades trains against one"),
    ],
)
def test_impossible_settings_are_refused_in_words(make, words):
    with pytest.raises(AdvvidError, match=words):
        make()

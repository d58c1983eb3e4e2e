"""TRADES and MART against figures worked out by hand and closed forms."""

import math

import pytest
import torch
from torch.nn import functional as F
from training_steps import random_batch, step

from advvid.attacks.apgd import APGD
from advvid.attacks.fgsm import FGSM
from advvid.attacks.mi_fgsm import MIFGSM
from advvid.attacks.pgd import PGD
from advvid.attacks.roa import ROA
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.defenses.divergence import divergence
from advvid.defenses.mart import MART, runner_up
from advvid.defenses.trades import TRADES
from advvid.tasks.next_frame import NextFrame
from small_models import LinearModel

SHAPE = (3, 2, 6, 6)


@pytest.fixture
def linear():
    return LinearModel(SHAPE)


def inside(size=3):
    """Clips far enough from black and white that no budget here meets the range of pixels."""
    clips = 0.3 + 0.4 * torch.rand(size, *SHAPE, generator=torch.Generator().manual_seed(3))
    return Batch(clips, torch.tensor([0, 1, 1]), list("abc"))


def test_divergence_by_hand():
    clean, adversarial = torch.tensor([[0.0, math.log(3)]]), torch.zeros(1, 2)
    by_hand = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert float(divergence(clean, adversarial)) == pytest.approx(by_hand, rel=1e-6)
    assert float(divergence(adversarial, clean)) == pytest.approx(
        0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75), rel=1e-6
    )
    out, out_adv = torch.randn(4, 7), torch.randn(4, 7)
    known = F.kl_div(out_adv.log_softmax(1), out.softmax(1), reduction="none").sum(1)
    assert torch.allclose(divergence(out, out_adv), known, atol=1e-6)


@pytest.mark.parametrize("start", ["attack", "gaussian"])
def test_trades_finds_the_farthest_answer_of_a_linear_model(linear, start):
    """The answer depends on w.x alone, so that the farthest lies at a corner: eps ||w||_1 away, either way."""
    trades, batch = TRADES(inner_steps=3, inner_step_size="eps", start=start), inside()
    made = trades.prepare(linear, batch, {"pgd": PGD(eps="1/255")}, step())
    moved = ((made.clips - batch.inputs) * linear.w).flatten(1).sum(1).abs()
    assert torch.allclose(moved, (linear.w.abs().sum() / 255).expand(3), rtol=1e-4)
    assert bool(PGD(eps="1/255").threat.contains(made.clips, batch.inputs).all())
    loss, logs = trades.fit(linear, batch, made, step())
    out, out_adv = linear(batch.inputs), linear(made.clips)
    known = F.cross_entropy(out, batch.target) + 6 * divergence(out, out_adv).mean()
    assert loss.item() == pytest.approx(known.item(), rel=1e-6)
    assert float(logs["divergence"]) == pytest.approx(divergence(out, out_adv).mean().item(), rel=1e-6)


def test_trades_looks_for_divergence_and_not_for_mistakes(small):
    """On clips that are wrong already the label's loss and the divergence part ways."""
    batch = random_batch(0)
    found = {}
    for surrogate in ("kl", "task"):
        trades = TRADES(inner_steps=5, surrogate=surrogate)
        made = trades.prepare(small, batch, {"pgd": PGD(eps="4/255")}, step())
        with torch.no_grad():
            apart = divergence(small(batch.inputs), small(made.clips)).sum()
            found[surrogate] = (float(apart), float(trades.task.loss(small(made.clips), batch.target).sum()))
    assert found["kl"][0] > found["task"][0]
    assert found["task"][1] > found["kl"][1]


def test_trades_starts_near_the_clean_clip_when_asked(small):
    batch = random_batch(0)
    near = TRADES(inner_steps=1, inner_step_size="1/2550", start="gaussian")
    far = TRADES(inner_steps=1, inner_step_size="1/2550")
    distance = [
        float((d.prepare(small, batch, {"pgd": PGD()}, step()).clips - batch.inputs).abs().mean()) for d in (near, far)
    ]
    assert distance[0] < 0.002 < 0.01 < distance[1]


def test_the_gradient_of_trades_flows_through_both_answers(linear):
    trades, batch = TRADES(beta=2.0), inside()
    made = trades.prepare(linear, batch, {"pgd": PGD(eps="1/255")}, step())
    trades.fit(linear, batch, made, step())[0].backward()
    w = linear.w.detach().clone().requires_grad_()
    score = [((clips - 0.5) * w).flatten(1).sum(1) for clips in (batch.inputs, made.clips)]
    out, out_adv = (torch.stack([s, -s], 1) for s in score)
    p, q = out.softmax(1), out_adv.softmax(1)
    (F.cross_entropy(out, batch.target) + 2 * (p * (p / q).log()).sum(1).mean()).backward()
    assert torch.allclose(linear.w.grad, w.grad, atol=1e-5)


def test_runner_up_by_hand_and_where_probabilities_round_to_one():
    p = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.7, 0.2]])
    found = runner_up(p.log(), torch.tensor([0, 0]))
    assert found.tolist() == pytest.approx([-math.log(1 - 0.3), -math.log(1 - 0.7)], rel=1e-5)
    extreme = torch.tensor([[0.0, 200.0, 1.0]], requires_grad=True)
    value = runner_up(extreme, torch.tensor([0]))
    value.sum().backward()
    assert value.item() == pytest.approx(199, abs=1)
    assert torch.isfinite(extreme.grad).all()


def test_mart_by_hand(linear):
    mart, batch = MART(beta=5, margin=1), inside()
    made = mart.prepare(linear, batch, {"pgd": PGD(eps="1/255")}, step())
    loss, _ = mart.fit(linear, batch, made, step())
    p, q = linear(batch.inputs).softmax(1), linear(made.clips).softmax(1)
    rows = torch.arange(3)
    boosted = -q[rows, batch.target].log() - (1 - q[rows, 1 - batch.target]).log()
    weighted = (p * (p / q).log()).sum(1) * (1 - p[rows, batch.target])
    assert loss.item() == pytest.approx((boosted + 5 * weighted).mean().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TRADES(beta=-1), "beta=-1 is not possible"),
        (lambda: TRADES(surrogate="mse"), "surrogate='mse' is not known"),
        (lambda: TRADES(start="zero"), "start='zero' is not known"),
        (lambda: TRADES(noise=0), "noise=0 is not possible"),
        (lambda: TRADES().check({"a": PGD(), "b": PGD()}, 1), "trains against one attack but got 2"),
        (lambda: TRADES().check({"fgsm": FGSM()}, 1), "would start at the clean clip"),
        (lambda: TRADES().check({"apgd": APGD()}, 1), "APGD is not"),
        (lambda: TRADES(start="gaussian").check({"mi_fgsm": MIFGSM()}, 1), "MIFGSM does not"),
        (lambda: TRADES().check({"pgd": PGD(targeted="random")}, 1), "targeted=null"),
        (lambda: TRADES(task=NextFrame()).check({"pgd": PGD()}, 1), "the task NextFrame does not have"),
        (lambda: MART(task=NextFrame()).check({"pgd": PGD()}, 1), "the task NextFrame does not have"),
        (lambda: MART(beta=-1), "beta=-1 is not possible"),
        (lambda: MART().check({"a": PGD(), "b": PGD()}, 1), "trains against one attack but got 2"),
    ],
)
def test_impossible_settings_are_refused_in_words(make, words):
    with pytest.raises(AdvvidError, match=words):
        make()


def test_trades_takes_attacks_with_a_start_of_their_own():
    TRADES().check({"roa": ROA()}, 1)
    TRADES(start="gaussian").check({"fgsm": FGSM()}, 1)
    TRADES(surrogate="task").check({"apgd": APGD()}, 1)

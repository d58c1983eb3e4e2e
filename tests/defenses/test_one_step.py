"""Fast, Free and N-FGSM training: their clips by hand, and the watch over catastrophic overfitting."""

import logging

import pytest
import torch
import torch.distributed as dist
from torch import nn
from training_steps import random_batch, step

from advvid.attacks.frame_border import FrameBorder
from advvid.attacks.mult_av import MultAV
from advvid.attacks.pgd import PGD
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.defenses.fgsm_rs import FGSMRS
from advvid.defenses.free_at import FreeAT
from advvid.defenses.n_fgsm import NFGSM
from advvid.defenses.one_step import accuracy
from advvid.tasks.classification import Classification
from advvid.training.validation import score
from small_models import Small3D

EPS = 8 / 255
ATTACKS = {"pgd": PGD(eps=EPS)}


def test_fgsm_rs_is_a_random_start_and_one_step(small):
    batch = random_batch(0)
    made = FGSMRS().prepare(small, batch, {"pgd": PGD(eps=EPS, random_start=False)}, step())
    change = made.clips - batch.inputs
    assert float(change.abs().max()) <= EPS + 1e-6
    free = (batch.inputs > 2 * EPS) & (batch.inputs < 1 - 2 * EPS)
    # A step of 1.25 eps ends on the far side unless it starts in the farthest three eighths.
    assert float((change[free].abs() > EPS - 1e-6).float().mean()) == pytest.approx(5 / 8, abs=0.02)


def test_n_fgsm_leaves_the_set_but_not_the_range(small):
    batch = random_batch(0)
    made = NFGSM().prepare(small, batch, ATTACKS, step())
    change = (made.clips - batch.inputs).abs()
    assert 2.5 * EPS < float(change.max()) <= 3 * EPS + 1e-6
    assert float(made.clips.min()) >= 0
    assert float(made.clips.max()) <= 1
    start = NFGSM().craft(small, batch, NFGSM().noisy(PGD(eps=EPS)), step()).x_adv
    moved = (made.clips - start).abs()
    inner = (start > EPS) & (start < 1 - EPS) & (moved > 0)
    assert torch.allclose(moved[inner], torch.tensor(EPS), atol=1e-6)
    assert inner.float().mean() > 0.8


def test_free_at_is_the_papers_loop():
    """Algorithm 1 written out: replays of one minibatch, one backward pass for weights and perturbation."""
    defense, replays = FreeAT(replays=3), 3
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(Small3D().train())
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9) for model in models]
    delta = torch.zeros(4, 3, 4, 16, 16)
    for index in range(8):
        loss, _ = defense.objective(models[0], random_batch(index), ATTACKS, step(iteration=index, iterations=8))
        loss.backward()
        held = random_batch(index // replays * replays)
        noise = delta.clone().requires_grad_()
        logits = models[1]((held.inputs + noise).clamp(0, 1))
        by_hand = nn.functional.cross_entropy(logits, held.target, reduction="none").mean()
        by_hand.backward()
        delta = (delta + EPS * noise.grad.sign()).clamp(-EPS, EPS)
        assert loss.item() == by_hand.item()
        assert torch.equal(defense.delta, delta)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert float(delta.abs().max()) == pytest.approx(EPS)


def test_free_at_goes_on_with_its_replays_into_the_next_epoch(small):
    defense = FreeAT(replays=4)
    seen = []
    for epoch in range(2):
        for index in range(6):
            defense.objective(small, random_batch(10 * epoch + index), ATTACKS, step(epoch, 2, index, iterations=6))
            seen.append(defense.held.ids[0])
    assert seen == ["0/0"] * 4 + ["4/0"] * 4 + ["12/0"] * 4


def test_accumulated_gradients_do_not_change_the_perturbation(small):
    """The trainer divides the loss by the steps that it adds up; a sign does not notice."""
    whole, part = FreeAT(), FreeAT()
    for defense, scale in ((whole, 1), (part, 8)):
        (defense.objective(small, random_batch(0), ATTACKS, step())[0] / scale).backward()
    assert torch.equal(whole.delta, part.delta)


class Masked(nn.Module):
    """Wrong only halfway to the edge of the set: what a model learns that was shown nothing but one-step clips."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, clips):
        shift = (clips - 0.5).mean(dim=(1, 2, 3, 4)) / EPS
        margin = self.weight * (shift - 0.3) * (shift - 0.7)
        return torch.stack([margin, -margin], dim=1)


def validation_of(model):
    """Return a measure as the trainer's."""
    batch = Batch(torch.full((6, 3, 2, 8, 8), 0.5), torch.zeros(6, dtype=torch.int64), list("abcdef"))

    def measure(attack, split):
        assert split == "val"
        return score(model, [batch], Classification(), torch.device("cpu"), {"": attack})[""].mean_loss

    return measure


@pytest.mark.parametrize("defense", [FGSMRS(), NFGSM(), FreeAT()], ids=lambda d: d.name)
def test_overfitting_to_one_step_is_seen_and_told_once(defense, caplog):
    measure = validation_of(Masked())
    with caplog.at_level(logging.WARNING):
        first = defense.end_epoch(ATTACKS, step(3), measure)
        second = defense.end_epoch(ATTACKS, step(4), measure)
    assert first == second == {"val_one_step_acc": 1.0, "val_pgd_acc": 0.0}
    assert len(caplog.records) == 1
    assert "catastrophic overfitting: after epoch 4" in caplog.text
    resumed = type(defense)()
    resumed.load_state_dict(defense.state_dict())
    resumed.end_epoch(ATTACKS, step(5), measure)
    assert len(caplog.records) == 1


def test_a_sound_model_is_not_warned_about(small, caplog):
    batch = random_batch(0)

    def measure(attack, split):
        return score(small, [batch], Classification(), torch.device("cpu"), {"": attack})[""].mean_loss

    found = FGSMRS(monitor_margin=1.0).end_epoch(ATTACKS, step(), measure)
    attacks = {"": FGSMRS().one_step(PGD(eps=EPS))}
    by_hand = score(small, [batch], Classification(), torch.device("cpu"), attacks)[""].accuracy
    assert found["val_one_step_acc"] == by_hand >= found["val_pgd_acc"]
    assert not caplog.records


def test_shares_of_several_processes_are_put_together(monkeypatch):
    """Each process measures a part of the split: here another one saw 18 clips and lost them all."""
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_gather_object", lambda found, own: found.__setitem__(slice(None), [own, (0, 18)]))
    assert accuracy(FGSMRS().one_step(PGD(eps=EPS)), validation_of(Masked())) == 6 / 24


def test_without_right_answers_there_is_nothing_to_monitor():
    assert FGSMRS().end_epoch(ATTACKS, step(), lambda attack, split: 0.0) == {}


def test_the_monitor_keeps_to_its_interval_and_never_misses_the_end():
    measure = validation_of(Masked())
    looks = [bool(FGSMRS(monitor_every=4).end_epoch(ATTACKS, step(e, epochs=10), measure)) for e in range(10)]
    assert [i for i, look in enumerate(looks) if look] == [3, 7, 9]
    assert FGSMRS(monitor_every=0).end_epoch(ATTACKS, step(9, epochs=10), measure) == {}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FGSMRS(step_factor=0), r"step_factor=\S+ is not possible"),
        (lambda: FGSMRS(monitor_every=-1), "monitor_every=-1 is not possible"),
        (lambda: FGSMRS(monitor_margin=2), r"monitor_margin=\S+ is not possible"),
        (lambda: NFGSM(noise_factor=-1), "noise_factor=-1 is not possible"),
        (lambda: FreeAT(replays=0), "replays=0 is not possible"),
        (lambda: FGSMRS().check({"mult_av": MultAV()}, 1), "MultAV does not have"),
        (lambda: FGSMRS().check({"a": PGD(), "b": PGD()}, 1), "defense=fgsm_rs trains against one"),
        (lambda: NFGSM().check({"border": FrameBorder()}, 1), "noise of 2 eps is more than a pixel can change"),
        (lambda: FreeAT().check({"border": FrameBorder()}, 1), "keeps one perturbation for all clips"),
        (lambda: FreeAT().check({"l2": PGD(norm="l2", eps=1.0, step_size="eps")}, 1), "keeps one perturbation"),
    ],
)
def test_impossible_settings_are_refused_in_words(make, words):
    with pytest.raises(AdvvidError, match=words):
        make()

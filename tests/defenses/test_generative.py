"""3D APE-GAN, AT behind a frozen generator, GAT: who moves whom, known limits, both accesses in the table."""

import json
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn
from training_steps import random_batch, same, step, trained

from advvid.attacks.pgd import PGD
from advvid.core.errors import AdvvidError
from advvid.defenses.ape_gan import APEGAN
from advvid.defenses.at import AT
from advvid.defenses.cat import CAT
from advvid.defenses.critic import Critic
from advvid.defenses.frozen_gan_at import FrozenGANAT
from advvid.defenses.gat import GAT
from advvid.defenses.mart import MART
from advvid.defenses.none import NoDefense
from advvid.distributed.parallel import Processes
from advvid.models.ape_gan import Discriminator, Generator
from advvid.models.purified import Purified
from small_models import Small3D

PGD_ALONE = {"pgd": PGD()}
SMALL = {"generator": partial(Generator, width=2, residual=True), "discriminator": partial(Discriminator, width=2)}


def classifier_trained(defense, attacks, steps=3):
    """As ``training_steps.trained``, for the classifier behind a generator."""
    torch.manual_seed(0)
    net = Small3D()
    system = defense.wrap(net)
    optimizer = torch.optim.SGD([p for p in system.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    losses, passes = [], []
    for index in range(steps):
        system.train()
        loss, logs = defense.objective(system, random_batch(index), attacks, step(iteration=index))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        defense.end_update(system)
        losses.append(loss.item())
        passes.append(float(logs["passes"]))
    return net.state_dict(), losses, passes


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_behind_an_identity_it_is_adversarial_training(mode):
    inner = {"inner_mode": mode}
    behind = FrozenGANAT(
        ape_gan=APEGAN(generator=nn.Identity, adversary=AT(**inner), **inner), adversary=AT(**inner), **inner
    )
    plain, other = trained(AT(**inner), PGD_ALONE), classifier_trained(behind, PGD_ALONE)
    assert same(plain, other)
    assert plain[2] == other[2] == [6, 6, 6]


def test_behind_an_identity_without_a_budget_it_is_plain_training():
    none = {"pgd": PGD(eps=0)}
    other = classifier_trained(FrozenGANAT(ape_gan=APEGAN(generator=nn.Identity)), none)
    assert same(trained(NoDefense(), none), other)
    assert other[2] == [1, 1, 1]


@pytest.mark.parametrize("generator", [nn.Identity, SMALL["generator"]], ids=["identity", "untrained"])
def test_gat_with_nothing_asked_of_the_generator_is_adversarial_training(generator):
    """The residual generator begins as the identity and, without a loss of its own, stays it."""
    gat = GAT(generator=generator, gamma_mse=0, gamma_gan=0, loss_reaches_generator=False)
    assert same(trained(AT(), PGD_ALONE), classifier_trained(gat, PGD_ALONE))


def test_gat_with_an_identity_is_adversarial_training_in_any_case():
    gat = GAT(generator=nn.Identity, gamma_mse=0, gamma_gan=0)
    assert same(trained(AT(), PGD_ALONE), classifier_trained(gat, PGD_ALONE))


def test_ape_gan_of_an_identity_measures_the_perturbation():
    system = APEGAN(generator=nn.Identity, gamma_gan=0).wrap(Small3D())
    defense = APEGAN(generator=nn.Identity, gamma_mse=1, gamma_gan=0)
    batch, attack = random_batch(0), {"pgd": PGD()}
    loss, _ = defense.objective(system, batch, attack, step())
    clips, _ = defense.attacked(system, batch, attack, step())
    torch.testing.assert_close(loss, (clips - batch.inputs).square().sum(dim=1).mean())
    nothing, logs = defense.objective(system, batch, {"pgd": PGD(eps=0)}, step())
    assert nothing == 0
    assert float(logs["passes"]) == 1.5


def test_ape_gan_moves_the_generator_alone():
    defense = APEGAN(**SMALL)
    system = defense.wrap(Small3D()).train()
    before = {name: value.clone() for name, value in system.classifier.state_dict().items()}
    loss, logs = defense.objective(system, random_batch(0), PGD_ALONE, step())
    loss.backward()
    assert all(p.grad is None for p in system.classifier.parameters())
    assert all(torch.equal(value, before[name]) for name, value in system.classifier.state_dict().items())
    assert system.generator.last.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in defense.critic.network.parameters())  # it has its own turn
    assert not system.classifier.training
    assert float(logs["passes"]) == 5 + 1.5


def test_the_discriminator_moves_on_its_turns():
    defense = APEGAN(**SMALL, discriminator_every=2)
    system, weights, costs = defense.wrap(Small3D()).train(), [], []
    for index in range(4):
        loss, logs = defense.objective(system, random_batch(index), PGD_ALONE, step(iteration=index))
        loss.backward()
        system.zero_grad()
        defense.end_update(system)
        weights.append(torch.cat([p.detach().flatten() for p in defense.critic.network.parameters()]))
        costs.append(float(logs["passes"]))
    moved = [not torch.equal(a, b) for a, b in zip(weights[1:], weights[:-1], strict=True)]
    assert moved == [True, False, True]
    assert costs == [6.5, 8, 6.5, 8]
    line = defense.end_epoch(PGD_ALONE, step(), lambda *_: 0.0)
    assert {"restoration_mse", "generator_gan_loss", "discriminator_loss"} <= set(line)
    assert defense.sums == {}


def test_the_discriminator_learns_to_tell_clips_apart():
    torch.manual_seed(0)
    critic = Critic(partial(Discriminator, width=2), partial(torch.optim.Adam, lr=0.01))
    clean = random_batch(0, size=8).inputs
    smooth = nn.functional.avg_pool3d(clean, (1, 3, 3), 1, (0, 1, 1))
    critic.ready(clean, seed=0)
    losses = [float(critic.learn([(clean, smooth)], Processes())) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    statistics = [buffer.clone() for buffer in critic.network.buffers()]
    assert critic.surprise(smooth).mean() > critic.surprise(clean).mean()
    assert all(torch.equal(a, b) for a, b in zip(critic.network.buffers(), statistics, strict=True))


def test_eq_14_lets_the_classifiers_loss_reach_the_generator():
    def gradient(defense):
        torch.manual_seed(0)
        system = defense.wrap(Small3D()).train()
        system.generator.last.weight.data.normal_(0, 0.05)
        system.train_only(["generator", "classifier"])
        defense.objective(system, random_batch(0), {"pgd": PGD(eps=0)}, step())[0].backward()
        return system.generator.last.weight.grad, system.classifier.head.weight.grad

    settings = {**SMALL, "gamma_gan": 0}
    through, by_code, own = (
        gradient(defense)
        for defense in (GAT(**settings), GAT(**settings, loss_reaches_generator=False), APEGAN(**settings))
    )
    torch.testing.assert_close(by_code[0], own[0])
    assert not torch.allclose(through[0], own[0])
    torch.testing.assert_close(through[1], by_code[1])
    assert own[1] is None


def test_clips_may_be_crafted_on_the_classifier_alone():
    batch, system = random_batch(0), APEGAN(**SMALL).wrap(Small3D())
    system.generator.last.weight.data.normal_(0, 0.2)
    on = {
        who: APEGAN(**SMALL, crafted_on=who).attacked(system, batch, PGD_ALONE, step())[0]
        for who in ("system", "classifier")
    }
    assert not torch.equal(on["system"], on["classifier"])
    alone = AT().craft(system.classifier, batch, AT().inner(PGD()), step()).x_adv
    assert torch.equal(on["classifier"], alone)


def test_the_gray_box_sees_the_classifier():
    defense = GAT(**SMALL)
    system = defense.wrap(Small3D())
    assert defense.views(system) == {"gray_box": system.classifier}


@pytest.mark.parametrize("shape", [(3, 4, 16, 16), (3, 1, 15, 9), (3, 5, 24, 16)])
@pytest.mark.parametrize("skips", [True, False])
def test_the_generator_takes_any_size_and_begins_as_the_identity(shape, skips):
    clips = torch.rand(2, *shape)
    assert torch.equal(Generator(2, residual=True, skips=skips).eval()(clips), clips)
    made = Generator(2, skips=skips).eval()(clips)
    assert made.shape == clips.shape
    assert made.min() > 0
    assert made.max() < 1
    assert Discriminator(shape, width=2)(clips).shape == (2,)


def test_views_are_restored_one_by_one():
    net = Small3D()
    net.clip_shape = (3, 4, 16, 16)
    system = Purified(Generator(2, residual=True), net).eval()
    system.generator.last.weight.data.normal_()
    clips = torch.rand(2, 3, 8, 16, 16)
    halves = torch.cat([system.generator(half) for half in clips.split(4, dim=2)], dim=2)
    torch.testing.assert_close(system.restore(clips), halves)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: APEGAN(adversary=MART()), "adversary=MART does not choose an attack for each step"),
        (lambda: APEGAN(inner_steps=3), "inner_steps=3 and defense.adversary.inner_steps=5 differ"),
        (lambda: APEGAN(gamma_mse=-1), "gamma_mse=-1 is not possible"),
        (lambda: APEGAN(discriminator_every=0), "discriminator_every=0 is not possible"),
        (lambda: APEGAN(crafted_on="all"), "crafted_on='all' is not known"),
        (lambda: FrozenGANAT(ape_gan=GAT()), "ape_gan=GAT does not make a generator"),
        (lambda: APEGAN(adversary=CAT(hold=1)), "hold=1 is not possible"),
        (lambda: Generator(0), "width=0 is not possible"),
        (lambda: GAT().require_shape((1, 4, 16, 16)), "takes clips in colour.*not inputs of shape 1 x 4 x 16 x 16"),
        (lambda: Generator(2)(torch.rand(2, 3)), r"takes clips \[B, 3, T, H, W\]"),
    ],
)
def test_impossible_settings_are_refused_in_words(make, words):
    with pytest.raises(AdvvidError, match=words):
        make()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ape_gan", "gat", "frozen_gan_at"])
def test_both_accesses_stand_in_the_table(tmp_path, name):
    """More access must not make an attack weaker: unless it truly does, the table raises no such check."""
    schedules = {
        "ape_gan": ["defense.classifier_schedule.epochs=12"],
        "gat": [],
        "frozen_gan_at": ["defense.ape_gan.classifier_schedule.epochs=12", "defense.generator_schedule.epochs=3"],
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "advvid.train",
            f"defense={name}",
            *schedules[name],
            "schedule.epochs=6",
            "model.width=0.5",
            "dataset.limit_train=200",
            "dataset.limit_val=20",
            "dataset.limit_test=50",
            "defense.inner_steps=2",
            "tracker=none",
            "runtime.threads=1",
            "evaluation.pictures=0",
            f"hydra.run.dir={tmp_path}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "robustness.json").read_text())
    assert not any("@" in key for key in table["attacks"])
    assert {column["access"] for column in table["attacks"].values()} == {"white_box"}
    for key, white in table["attacks"].items():
        gray = table["extra"][f"{key}@gray_box"]
        assert gray["access"] == "gray_box"
        assert gray["budget"] == white["budget"]
    found = [check for check in table["checks"] if check["name"] == "more_access"]
    assert len(found) == len(table["attacks"])
    assert not [check["message"] for check in found if check["raised"]]

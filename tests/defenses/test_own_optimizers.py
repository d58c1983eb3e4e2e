"""A network of a defense with an optimiser of its own: who moves by which rate, and the state of both."""

import copy
from functools import partial

import pytest
import torch
from tiny_runs import run
from torch import nn

from advvid.core.schedules import Schedule
from advvid.defenses.ape_gan import ADAM, APEGAN
from advvid.defenses.gat import GAT
from advvid.models.ape_gan import Generator
from advvid.training import trainer as training
from advvid.training.optimizers import Joint, optimizers, rates
from small_models import Small3D

SGD = partial(torch.optim.SGD, lr=5e-4, momentum=0.9, weight_decay=1e-5)
KINFU = Schedule(epochs=10, optimizer=SGD, kind="step", milestones=[7], warmup=0.0)


def move(optimizers, nets):
    for index in range(3):
        for net in nets:
            net(torch.full((1, 3), 1.0 + index)).square().sum().backward()
        for each in optimizers:
            each.step()
            each.zero_grad()


def start():
    torch.manual_seed(0)
    one, two = nets = nn.Linear(3, 2), nn.Linear(3, 2)
    return nets, [torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.9), torch.optim.Adam(two.parameters(), lr=0.01)]


def test_several_optimisers_as_one_are_each_as_alone_and_go_on_from_a_saved_state():
    alone, apart = start()
    move(apart, alone)
    move(apart, alone)
    nets, optimizers = start()
    joint = Joint(optimizers)
    move([joint], nets)
    saved = copy.deepcopy(joint.state_dict())
    assert sorted(saved["state"]) == [0, 1, 2, 3]
    others, fresh = start()
    for one, other in zip(nets, others, strict=True):
        other.load_state_dict(one.state_dict())
    again = Joint(fresh)
    again.load_state_dict(saved)
    move([again], others)
    for one, other in zip(alone, others, strict=True):
        assert torch.equal(one.weight, other.weight)


@pytest.mark.parametrize(("make", "networks"), [(APEGAN, 1), (GAT, 2)])
def test_the_generator_keeps_its_rate_and_the_classifier_follows_the_schedule(make, networks):
    defense = make(generator=partial(Generator, width=2))
    system = defense.wrap(Small3D())
    optimizer, scheduled = optimizers(system, defense, KINFU)
    scheduler = rates(optimizer, scheduled, KINFU, total=20)
    for _ in range(16):
        optimizer.step()
        scheduler.step()
    *classifier, generator = optimizer.param_groups
    assert {id(p) for p in generator["params"]} == {id(p) for p in system.generator.parameters()}
    assert (generator["lr"], tuple(generator["betas"])) == (2e-4, (0.5, 0.999))
    assert len(classifier) == networks - 1
    for group in classifier:
        assert {id(p) for p in group["params"]} == {id(p) for p in system.classifier.parameters()}
        assert group["lr"] == pytest.approx(5e-5)
    assert ADAM.keywords == {"lr": 2e-4, "betas": (0.5, 0.999)}


def test_without_one_of_its_own_the_schedule_moves_the_generator():
    defense = APEGAN(generator=partial(Generator, width=2), generator_optimizer=None)
    optimizer, scheduled = optimizers(defense.wrap(Small3D()), defense, KINFU)
    assert optimizer is scheduled
    assert [group["lr"] for group in optimizer.param_groups] == [5e-4]


@pytest.mark.parametrize("who", ["system", "classifier"])
def test_probabilities_are_measured_on_what_training_attacks(tmp_path, monkeypatch, who):
    """Eq. 8's losses are those of the attacks that training makes, on the network that it makes them on."""
    seen, score = [], training.score

    def noted(*args, crafted_on=None, **kwargs):
        seen.append((args[4], crafted_on))
        return score(*args, crafted_on=crafted_on, **kwargs)

    monkeypatch.setattr(training, "score", noted)
    adaptive = ["defense@defense.adversary=aat", "defense.classifier=model", f"defense.crafted_on={who}"]
    done = run("ape_gan", tmp_path, *adaptive, "schedule.epochs=1")
    expected = done.model if who == "system" else done.model.classifier
    measured = [part for attack, part in seen if part is not None]
    assert len(measured) == 7
    assert all(part is expected for part in measured)

"""What every attack in conf/attack owes its caller."""

import dataclasses

import pytest
import torch
from hydra.utils import instantiate
from test_configs import every

from advvid.config.catalogue import notes, option_files
from advvid.core.batch import clip_generators
from advvid.evaluation.columns import Column, craft
from advvid.tasks.classification import Classification

NAMES = list(option_files("attack"))
IDS = list("abcdef")


@pytest.fixture(params=NAMES)
def attack(request):
    return shortened(instantiate(every("attack")[request.param], _convert_="all"))


def shortened(attack):
    """The same attack with few iterations, so that the whole suite runs in seconds."""
    few = {"steps": 3, "queries": 30}
    return dataclasses.replace(attack, **{k: v for k, v in few.items() if getattr(attack, k, 0) > v})


def generators(ids=IDS):
    return clip_generators(0, "column", ids)


@pytest.fixture(scope="module")
def kept():
    return {}


@pytest.fixture
def found(attack, request, kept, small, clips, labels):
    """What the attack finds, computed once for all tests that look at it."""
    name = request.node.callspec.params["attack"]
    if name not in kept:
        kept[name] = attack.run(small, clips, labels, generators())
    return kept[name]


def test_stays_in_its_threat(attack, found, clips):
    assert found.x_adv.shape == clips.shape
    assert found.x_adv.dtype == clips.dtype
    assert not found.x_adv.requires_grad
    assert attack.threat.contains(found.x_adv, clips, found.aux).all()
    assert attack.threat.contains(found.x_adv, clips).all()
    assert found.steps.shape == found.gradient_calls.shape == (6,)
    assert found.steps.dtype == found.gradient_calls.dtype == torch.int64


def test_passes_what_an_evaluation_demands(attack, small, clips, labels):
    """It leaves model, inputs, settings and global random numbers alone; see advvid.evaluation."""
    result, far = craft(Column("column", attack), small, clips, labels, IDS, 0, Classification())
    assert result.x_adv.shape == clips.shape
    assert far.shape == (6,)


def test_same_generators_give_the_same_bits_and_the_callers_clips_are_left(attack, found, small, clips, labels):
    copy = clips.clone()
    assert torch.equal(attack.run(small, clips, labels, generators()).x_adv, found.x_adv)
    assert torch.equal(copy, clips)


def test_neighbours_do_not_matter(attack, found, small, clips, labels):
    for index in (0, 4):
        alone = attack.run(small, clips[index : index + 1], labels[index : index + 1], generators(IDS[index])).x_adv
        torch.testing.assert_close(alone[0], found.x_adv[index], rtol=0, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_as_it_was(attack, small, clips, labels, training):
    small.train(training)
    small.body[3].eval()  # a flag of its own must survive
    for parameter in small.parameters():
        parameter.grad = torch.ones_like(parameter)
    small.head.weight.requires_grad_(False)
    before = {k: v.clone() for k, v in small.state_dict().items()}
    flags = [m.training for m in small.modules()]
    attack.run(small, clips, labels, generators())
    assert all(torch.equal(before[k], v) for k, v in small.state_dict().items())
    assert flags == [m.training for m in small.modules()]
    assert all((p.grad == 1).all() for p in small.parameters())
    assert [p.requires_grad for p in small.parameters()].count(False) == 1


def test_one_clip_of_one_frame(attack, small, labels):
    clip = torch.rand(1, 3, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    result = attack.run(small, clip, labels[:1], generators("a"))
    assert attack.threat.contains(result.x_adv, clip, result.aux).all()


def test_no_budget_is_the_identity(attack, small, clips, labels):
    if not hasattr(attack, "eps"):
        pytest.skip("the attack has no eps")
    result = dataclasses.replace(attack, eps=0.0).run(small, clips, labels, generators())
    assert torch.equal(result.x_adv, clips)


def test_the_loss_does_not_fall(attack, found, small, clips, labels):
    if not attack.maximises:
        pytest.skip("the attack does not look at the model")
    loss = torch.nn.functional.cross_entropy
    with torch.no_grad():
        before = loss(small(clips), labels, reduction="none")
        after = loss(small(found.x_adv), labels, reduction="none")
    # The clip that is wrong already may leave with any start.
    right = small(clips).argmax(1) == labels
    assert (after >= before - 1e-4)[right].all()
    assert after[right].mean() > before[right].mean()


def test_works_with_no_arguments(attack):
    assert isinstance(type(attack)().threat.budget, str)


def test_a_stated_time_can_be_read():
    """A user plans a table by it; scripts/attack_times.py measures it. An attack need not state one."""
    stated = [said["time"] for said in map(notes, option_files("attack").values()) if "time" in said]
    assert len(stated) > 10
    assert all(float(said.split(" s ")[0]) > 0 for said in stated)

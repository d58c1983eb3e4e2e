"""Clips go to the purifier of their verdict, as scored and as attacked."""

import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent / "contracts"))
from test_configs import composed

from advvid.attacks.pgd import PGD
from advvid.config.instantiate import safe_instantiate
from advvid.core.errors import AdvvidError
from advvid.detectors.routing import Routing
from advvid.detectors.temporal_shuffling import TemporalShuffling
from advvid.experiment.parts import made_routing
from advvid.purifiers.base import Purifier
from advvid.purifiers.filters import GaussianBlur
from advvid.purifiers.levels import NoiseInjection
from advvid.purifiers.purified import PurifiedModel


class Scaled(Purifier):
    """Multiplies by a number, to be told afterwards."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def purify(self, clips, generators):
        return clips * self.factor


class Levels(nn.Module):
    """Every frame's class is its grey level; the clip's is that of its mean."""

    def per_frame(self, clips):
        places = torch.tensor([0.2, 0.5, 0.8])
        return -100 * (clips.mean(dim=(1, 3, 4))[:, :, None] - places).square()

    def forward(self, clips):
        return self.per_frame(clips).mean(dim=1)


def clips_of(*levels):
    return torch.tensor(levels).view(len(levels), 1, -1, 1, 1).expand(-1, 3, -1, 4, 4).clone()


CALM = [0.5, 0.5, 0.5, 0.5, 0.5]
SPARSE = [0.5, 0.5, 0.8, 0.5, 0.5]  # index 1/5
DENSE = [0.5, 0.8, 0.5, 0.8, 0.5]  # index 3/5


def test_each_clip_passes_the_purifier_of_its_verdict():
    model = Levels()
    route = Routing(sparse=Scaled(0.5), dense=Scaled(0.25)).route(model)
    clips = clips_of(DENSE, CALM, SPARSE, CALM)
    assert route.verdict(clips).tolist() == [2, 0, 1, 0]
    factors = torch.tensor([0.25, 1, 0.5, 1]).view(4, 1, 1, 1, 1)
    assert torch.equal(route(clips), clips * factors)
    assert torch.equal(PurifiedModel([route], model)(clips), model(clips * factors))
    x = clips.clone().requires_grad_()
    route(x).sum().backward()
    assert torch.equal(x.grad, factors.expand_as(x))


def test_another_network_may_be_the_detector():
    class Blind(nn.Module):
        def per_frame(self, clips):
            return torch.zeros(len(clips), clips.shape[2], 3)

    assert Routing().route(Levels()).verdict(clips_of(DENSE)).tolist() == [2]
    assert Routing().route(Levels(), Blind()).verdict(clips_of(DENSE)).tolist() == [0]


def test_thresholds_and_purifiers_keep_results_apart():
    model = Levels()
    routes = [
        Routing().route(model),
        Routing(gamma_1=0.1).route(model),
        Routing(gamma_2=0.4).route(model),
        Routing(dense=GaussianBlur(1.0)).route(model),
        Routing(dense=GaussianBlur(2.0)).route(model),
    ]
    assert len({route.settings for route in routes}) == 5


def test_a_random_purifier_makes_the_route_random():
    model, clips = Levels(), clips_of(DENSE, CALM)
    route = Routing(dense=NoiseInjection(0.01)).route(model)
    assert route.random
    assert not Routing().route(model).random
    system = PurifiedModel([route], model)
    assert torch.equal(system(clips), system(clips))
    assert torch.equal(system.purify(clips)[1], clips[1])
    assert not torch.equal(system.purify(clips)[0], system.view(2).purify(clips)[0])


def test_an_attack_through_the_route_stays_in_its_ball():
    model = Levels()
    system = PurifiedModel([Routing(sparse=GaussianBlur(1.0), dense=Scaled(0.9)).route(model)], model)
    clips, attack = clips_of(CALM, SPARSE, DENSE), PGD(eps="40/255", steps=10)
    labels = system(clips).argmax(dim=1)
    x_adv = attack(system, clips, labels)
    assert attack.threat.contains(x_adv, clips).all()
    assert (system(x_adv).argmax(dim=1) != labels).any()


def test_it_is_chosen_on_the_command_line():
    cfg = composed("detector=temporal_consistency", "purifier@detector.sparse=gaussian_blur", "detector.gamma_1=0.1")
    found = safe_instantiate(cfg.detector)
    assert isinstance(found, Routing)
    assert (found.gamma_1, type(found.sparse)) == (0.1, GaussianBlur)


ROUTING = {"_target_": "advvid.detectors.routing.Routing"}


@pytest.mark.parametrize(
    ("settings", "shape", "words"),
    [
        ({"detector": ROUTING, "mode": "train"}, (3, 8, 32, 32), "detector=... stands before the finished model"),
        ({"detector": ROUTING}, (300, 1152), "detector=... changes pixels"),
        ({"detector": {"_target_": "advvid.attacks.pgd.PGD"}}, (3, 8, 32, 32), "detector holds a PGD"),
        ({"detector": ROUTING | {"gamma_1": 0.9}}, (3, 8, 32, 32), "gamma_1=0.9 and gamma_2=0.3 are not possible"),
        (
            {"detector": ROUTING | {"sparse": 3}},
            (3, 8, 32, 32),
            "detector.sparse=3 is not possible: choose a node",
        ),
        ({"detector": ROUTING | {"network": "nowhere"}}, (3, 8, 32, 32), "nowhere"),
    ],
)
def test_what_cannot_work_is_told_in_one_sentence(settings, shape, words):
    cfg = OmegaConf.create({"mode": "eval", "evaluation": {"eot_samples": 10}} | settings)
    with pytest.raises(AdvvidError, match=words):
        made_routing(cfg, shape)


class Rising(nn.Module):
    """Class 1 where the grey level rises steadily enough from frame to frame."""

    def forward(self, clips):
        trend = clips.mean(dim=(1, 3, 4)) @ torch.tensor([-2.0, -1, 0, 1, 2])
        return torch.stack([torch.full_like(trend, 2.4), trend], dim=1)


def test_an_answer_that_another_order_changes_is_purified():
    """A still clip answers the same in any order; a rise that only the given order has does so in none."""
    clips, detector = clips_of(CALM, [0.0, 0.25, 0.5, 0.75, 1.0], CALM), TemporalShuffling(dense=Scaled(0.25))
    index = detector.index(Rising(), clips)
    assert index[[0, 2]].tolist() == [0, 0]
    assert index[1] > 0.8
    assert torch.equal(detector.index(Rising(), clips[1:2]), index[1:2])  # the same orders each time, for any batch
    route = detector.route(Rising())
    assert torch.equal(route(clips), clips * torch.tensor([1, 0.25, 1]).view(-1, 1, 1, 1, 1))
    assert route.settings != TemporalShuffling(dense=Scaled(0.25), orders=9).route(Rising()).settings


def test_temporal_shuffling_is_a_detector_of_the_command_line():
    found = made_routing(composed("detector=temporal_shuffling"), (3, 5, 16, 16))
    assert isinstance(found, TemporalShuffling)

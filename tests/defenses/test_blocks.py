"""OUDefend and feature denoising: adversarial training of the plain network as long as their blocks add nothing."""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from training_steps import random_batch, same, step

from advvid.attacks.pgd import PGD
from advvid.core.errors import AdvvidError
from advvid.defenses.at import AT
from advvid.defenses.feature_denoising import FeatureDenoising
from advvid.defenses.none import NoDefense
from advvid.defenses.oudefend import OUDefend
from advvid.models.non_local import NonLocal
from advvid.models.r3d_tiny import R3DTiny
from advvid.models.residual import Followed, residual_blocks
from advvid.models.resnet3d import ResNet3D
from advvid.models.restoration import OverUnder
from small_models import Small3D

FORMS = {
    "oudefend": OUDefend,
    "oudefend_stage": lambda **s: OUDefend(after="stage", over_levels=1, under_levels=[2, 1], **s),
    "denoising_clip": FeatureDenoising,
    "denoising_frame": lambda **s: FeatureDenoising(over="frame", after="block", softmax=False, embed=False, **s),
    "denoising_own": lambda **s: FeatureDenoising(over="frame", frame_weights="own", **s),
}


def network():
    torch.manual_seed(0)
    net = R3DTiny(5, width=0.25)
    net.clip_shape = (3, 4, 16, 16)
    return net


def trained(defense, attacks, keep=lambda name: True, steps=3):
    """Train with the weights that are kept, and return the plain network's under their plain names."""
    model = defense.wrap(network())
    weights = [p for name, p in model.named_parameters() if keep(name)]
    optimizer = torch.optim.SGD(weights, lr=0.05, momentum=0.9)
    losses = []
    for index in range(steps):
        loss, _ = defense.objective(model.train(), random_batch(index), attacks, step(iteration=index))
        loss.backward()
        optimizer.step()
        model.zero_grad()
        losses.append(loss.item())
    plain = {n.replace(".block.", "."): v for n, v in model.state_dict().items() if ".added." not in n}
    return plain, losses


@pytest.mark.parametrize("name", list(FORMS))
@pytest.mark.parametrize("settings", [{"strength": 0}, {}], ids=["strength 0", "blocks that stay as they begin"])
def test_blocks_that_add_nothing_leave_adversarial_training(name, settings):
    attacks = {"pgd": PGD()}
    known = trained(AT(inner_steps=2), attacks)
    other = trained(FORMS[name](inner_steps=2, **settings), attacks, lambda key: ".added." not in key)
    assert same(known, other)


@pytest.mark.parametrize("name", list(FORMS))
def test_without_a_budget_that_is_plain_training(name):
    none = {"pgd": PGD(eps=0)}
    assert same(trained(NoDefense(), none), trained(FORMS[name](strength=0), none))


@pytest.mark.parametrize("name", list(FORMS))
def test_every_block_learns(name):
    """The weights that start at zero move first; then the gradient reaches those before them."""
    torch.manual_seed(0)
    defense = FORMS[name](inner_steps=1)
    model = defense.wrap(network()).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for index in range(2):
        optimizer.zero_grad()
        batch = random_batch(index)  # twice as large: a single place of the last features has nothing to compare with
        batch = dataclasses.replace(batch, inputs=batch.inputs.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4))
        defense.objective(model, batch, {"pgd": PGD()}, step(iteration=index))[0].backward()
        optimizer.step()
    added = {n: p for n, p in model.named_parameters() if ".added." in n}
    assert added
    for key, weight in added.items():
        assert torch.isfinite(weight.grad).all(), key
        if not key.endswith("norm.bias"):
            assert weight.grad.abs().sum() > 0, key


@pytest.mark.parametrize("make", [lambda: R3DTiny(5, width=0.25), lambda: ResNet3D(5, depth=18, width=0.05)])
@pytest.mark.parametrize("name", ["oudefend", "denoising_clip"])
def test_any_residual_network_begins_as_itself(name, make):
    torch.manual_seed(0)
    net = make().eval()
    clips = torch.rand(2, 3, 4, 16, 16)
    expected, blocks = net(clips), len(residual_blocks(net, "x"))
    model = FORMS[name]().wrap(copy.deepcopy(net)).eval()
    assert torch.equal(model(clips), expected)
    stages = len({place.stage for place in residual_blocks(net, "x")})
    assert len([m for m in model.modules() if isinstance(m, Followed)]) == (blocks if name == "oudefend" else stages)


def test_the_non_local_mean_is_the_equations():
    """``softmax(theta_i . phi_j / sqrt(d))`` over the places of the clip, or of each frame."""
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3, 2, 2)
    for over in ("clip", "frame"):
        block = NonLocal(4, over).eval()
        block.norm.weight.data.fill_(1)
        seen = []
        block.out.register_forward_hook(lambda _, given, __, seen=seen: seen.append(given[0]))
        block(x)
        theta, phi, value = (part.flatten(3).permute(0, 2, 3, 1) for part in (block.theta(x), block.phi(x), x))
        if over == "clip":
            theta, phi, value = (part.flatten(1, 2)[:, None] for part in (theta, phi, value))
        weights = (theta @ phi.transpose(-1, -2) / theta.shape[-1] ** 0.5).softmax(dim=-1)
        expected = (weights @ value).reshape(2, 3, 2, 2, 4).permute(0, 4, 1, 2, 3)
        torch.testing.assert_close(seen[0], expected)


def test_a_frame_by_itself_sees_no_other():
    torch.manual_seed(0)
    x, other = torch.randn(2, 4, 3, 2, 2), torch.randn(2, 4, 3, 2, 2)
    other[:, :, 0] = x[:, :, 0]
    for over, same_frame in (("frame", True), ("clip", False)):
        block = NonLocal(4, over).eval()
        block.norm.weight.data.fill_(1)
        assert torch.equal(block(x)[:, :, 0], block(other)[:, :, 0]) == same_frame


@pytest.mark.parametrize(("over", "under"), [(2, 2), (0, 3), (3, 0), (0, 0)])
def test_odd_features_keep_their_size(over, under):
    block = OverUnder(6, 3, over, under)
    nn.init.normal_(block.leave.weight)
    x = torch.rand(2, 6, 3, 7, 5)
    assert block(x).shape == x.shape


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: OUDefend().wrap(Small3D()), "works on the features after residual blocks"),
        (lambda: OUDefend(under_levels=[1, 2, 3]).wrap(network()), "has 3 numbers for the model's 2 stages"),
        (lambda: OUDefend(after="layer"), "after='layer' is not known"),
        (lambda: OUDefend(over_levels=-1), "over_levels=-1 is not possible"),
        (lambda: FeatureDenoising(over="video"), "over='video' is not known"),
        (lambda: FeatureDenoising(frame_weights="own"), "frame_weights=own is for embeddings within frames"),
        (lambda: NonLocal(4, "frame", frames=3)(torch.rand(1, 4, 2, 2, 2)), "weights for each of 3 frames"),
    ],
)
def test_what_cannot_be_is_refused_in_words(make, words):
    with pytest.raises(AdvvidError, match=words):
        make()

"""BatchNorm in branches: in any network, moved one at a time, mixed as the equation says."""

import copy

import pytest
import torch
from torch import nn

from advvid.core.errors import AdvvidError
from advvid.models.branches import BranchNorm, Choice, add_branches
from advvid.models.cnn_recurrent import CNNRecurrent
from advvid.models.multi_branch import MultiBranch, Selector, Through
from advvid.models.per_frame import FrameAverage
from advvid.models.r3d_tiny import R3DTiny
from advvid.models.resnet3d import ResNet3D
from advvid.models.resnet18_2d import ResNet18
from small_models import Small3D

NAMES = ("clean", "pgd", "roa")


class Flat(nn.Module):
    """A network with BatchNorm1d, below a layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.shared = nn.BatchNorm1d(3)
        self.first, self.second = nn.Sequential(self.shared), nn.Sequential(self.shared, nn.Linear(3, 5))

    def forward(self, clips):
        return self.second(self.first(clips.mean(dim=(2, 3, 4))))


NETWORKS = {
    "1d": Flat,
    "2d": lambda: FrameAverage(ResNet18(5, width=0.05)),
    "recurrent": lambda: CNNRecurrent(5, "lstm", width=0.25),
    "3d": lambda: R3DTiny(5, width=0.25),
    "deep": lambda: ResNet3D(5, depth=18, width=0.05),
}


@pytest.fixture(params=list(NETWORKS))
def net(request):
    torch.manual_seed(0)
    network = NETWORKS[request.param]()
    for module in network.modules():  # statistics and weights as after some training
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            for value in (module.running_mean, module.bias.data):
                value.normal_(0, 0.1)
            for value in (module.running_var, module.weight.data):
                value.uniform_(0.5, 1.5)
    return network.eval()


def statistics(model):
    """The running means and numbers of batches, by branch."""
    layers = [m for m in model.modules() if isinstance(m, BranchNorm)]
    return [
        torch.cat(
            [
                torch.cat([layer.branches[k].running_mean, layer.branches[k].num_batches_tracked[None]])
                for layer in layers
            ]
        )
        for k in range(len(layers[0].branches))
    ]


def test_every_branch_begins_as_the_network_itself(net, clips):
    expected = net(clips)
    model = MultiBranch(copy.deepcopy(net), NAMES, {}, selector=Selector(R3DTiny(3, width=0.25))).eval()
    assert not [m for m in model.net.modules() if isinstance(m, BranchNorm) and len(m.branches) != 3]
    for k in range(3):
        assert torch.equal(model.answer(clips, k, alone=True), expected)
    # A mixture of equals is what they are.
    torch.testing.assert_close(model(clips), expected, rtol=1e-4, atol=1e-5)


def test_only_the_chosen_branch_moves(net, clips):
    model = MultiBranch(net, NAMES, {}).train()
    before = statistics(model)
    model.answer(clips, 1)
    after = statistics(model)
    assert [bool((a != b).any()) for a, b in zip(after, before, strict=True)] == [False, True, False]


def test_with_weights_too_only_the_familys_own_branch_moves(net, clips):
    torch.manual_seed(1)
    model = MultiBranch(net, NAMES, {}, selector=Selector(R3DTiny(3, width=0.25))).train()
    before = statistics(model)
    model.answer(clips, 2)
    model.answer(clips)  # of a family that nobody knows: no statistics can be computed
    after = statistics(model)
    assert [bool((a != b).any()) for a, b in zip(after, before, strict=True)] == [False, False, True]


@pytest.mark.parametrize("layer", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("own", [None, 1])
def test_the_mixture_is_the_weighted_sum_of_branches(layer, affine, tracked, own):
    """``z = sum_k rho_k z_k``, clip by clip; in training z_k of the own branch is on batch statistics."""
    torch.manual_seed(0)
    shape = {nn.BatchNorm1d: (6, 4), nn.BatchNorm2d: (6, 4, 3, 3), nn.BatchNorm3d: (6, 4, 2, 3, 3)}[layer]
    choice = Choice()
    mixed = BranchNorm(layer(4, affine=affine, track_running_stats=tracked), 3, choice)
    for norm in mixed.branches:
        for tensor in [*norm.parameters(), *(b for b in norm.buffers() if b.is_floating_point())]:
            tensor.data.uniform_(0.5, 1.5)
    x, weights = torch.randn(shape), torch.rand(3, 3).softmax(dim=1)
    choice.branch, choice.weights = own, weights
    mixed.train(own is not None)
    rho = weights.repeat_interleave(2, dim=0)  # two rows for each of three clips
    known = copy.deepcopy(mixed.branches)
    if tracked:
        for k, norm in enumerate(known):
            norm.train(k == own)
    expected = sum(rho[:, k].reshape(-1, *[1] * (x.dim() - 1)) * norm(x) for k, norm in enumerate(known))
    torch.testing.assert_close(mixed(x), expected)


def test_a_layer_used_twice_has_one_set_of_branches():
    assert add_branches(Flat(), 2, Choice()) == 1
    assert add_branches(R3DTiny(5), 2, Choice()) == 7


def test_frozen_layers_stay_as_they_are(clips):
    net = Small3D()
    net.body[1].requires_grad_(False)
    model = MultiBranch(net, NAMES, {}).train()
    for norm in model.net.body[1].branches:
        assert not any(p.requires_grad for p in norm.parameters())
        norm.eval()
    before = statistics(model)
    model.answer(clips, 1)
    assert all(torch.equal(a, b) for a, b in zip(statistics(model), before, strict=True))


def test_a_copy_chooses_for_itself(clips):
    """The moving average of weights is a copy of the model."""
    model = MultiBranch(Small3D(), NAMES, {}, branch="pgd").eval()
    other = copy.deepcopy(model)
    with torch.no_grad():
        model.net.body[1].branches[1].weight.mul_(2)
    assert not torch.equal(model(clips), other(clips))
    assert torch.equal(other(clips), other.answer(clips, 1))


def test_the_weights_are_repeatable_in_testing_and_drawn_in_training(clips):
    torch.manual_seed(0)
    model = MultiBranch(Small3D(), NAMES, {}, selector=Selector(R3DTiny(3, width=0.25)), gumbel=True, temperature=0.5)
    scores = torch.randn(6, 3)
    model.eval()
    torch.testing.assert_close(model.weigh(scores), (scores / 0.5).softmax(dim=1))
    model.train()
    drawn = [model.weigh(scores) for _ in range(2)]
    assert not torch.equal(*drawn)
    torch.testing.assert_close(drawn[0].sum(dim=1), torch.ones(6))


def test_neighbours_do_not_matter(net, clips):
    torch.manual_seed(3)
    model = MultiBranch(net, NAMES, {}, selector=Selector(R3DTiny(3, width=0.25))).eval()
    torch.testing.assert_close(model(clips)[4:5], model(clips[4:5]), rtol=1e-4, atol=1e-5)


def test_low_precision_keeps_its_type(clips):
    torch.manual_seed(0)
    model = MultiBranch(Small3D(), NAMES, {}, selector=Selector(R3DTiny(3, width=0.25))).eval()
    seen = []
    model.net.body[1].register_forward_hook(lambda _, x, y: seen.append((x[0].dtype, y.dtype)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(clips)
    assert seen == [(torch.bfloat16, torch.bfloat16)]
    torch.testing.assert_close(low.float(), model(clips), rtol=0.1, atol=0.3)


def test_a_view_is_one_branch(clips):
    model = MultiBranch(Small3D(), NAMES, {"spa": "pgd"}, branch="roa").eval()
    with torch.no_grad():
        model.net.body[1].branches[1].bias.add_(1)
    assert model.branch_of("spa") == model.branch_of("pgd") == 1
    assert torch.equal(Through(model, 1)(clips), model.answer(clips, 1))
    assert torch.equal(model(clips), model.answer(clips, 2))
    assert not torch.equal(model(clips), Through(model, 1)(clips))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MultiBranch(nn.Linear(2, 2), NAMES, {}), "no BatchNorm to give branches to"),
        (lambda: MultiBranch(Small3D(), NAMES, {}, branch="lp"), "defense.branch=lp is not known: choose among clean"),
        (lambda: MultiBranch(Small3D(), NAMES, {}).branch_of("spa"), "spa belongs to none of the branches"),
        (lambda: MultiBranch(Small3D(), NAMES, {}).scores(torch.zeros(1, 3, 2, 8, 8)), "no selector"),
    ],
)
def test_what_cannot_be_is_refused_in_words(make, words):
    with pytest.raises(AdvvidError, match=words):
        make()


def test_rows_that_belong_to_no_clip_are_refused():
    choice = Choice(None, torch.ones(3, 2) / 2)
    with pytest.raises(AdvvidError, match="cannot be told apart by 3 clips"):
        BranchNorm(nn.BatchNorm1d(4), 2, choice)(torch.rand(4, 4))

"""CNN + RNN, LSTM, GRU: order matters, all of it learns, and frozen features stay as they are."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from advvid.attacks.pgd import PGD
from advvid.core.errors import AdvvidError
from advvid.models.cnn_recurrent import CNNRecurrent
from advvid.models.per_frame import FrameClassifier
from advvid.models.weights import load_local_weights

CELLS = ["rnn", "lstm", "gru"]


def net(cell="lstm", **options):
    torch.manual_seed(0)
    return CNNRecurrent(5, cell, **options).eval()


def videos(frames=4):
    return torch.rand(2, 3, frames, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("cell", CELLS)
def test_the_order_of_frames_matters(cell):
    model, clips = net(cell), videos()
    assert (model(clips) - model(clips.flip(2))).abs().max() > 1e-4


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("readout", ["last", "mean"])
def test_the_read_out_state_is_what_is_said(cell, readout):
    model, clips = net(cell, readout=readout, hidden=16), videos()
    features = torch.stack([model.net(clips[:, :, t]) for t in range(4)], dim=1)
    states, _ = model.rnn(features)
    wanted = states[:, -1] if readout == "last" else states.mean(dim=1)
    torch.testing.assert_close(model(clips), model.fc(wanted))


def test_both_directions_have_read_every_frame():
    model = net(bidirectional=True, hidden=16)
    for t in (0, 3):
        changed = videos()
        changed[:, :, t] = 0
        states = [model._read(model._states(_features(model, clips))) for clips in (videos(), changed)]
        moved = (states[0] - states[1]).abs()
        assert moved[:, :16].max() > 1e-4, "the forward half has not seen the frame"
        assert moved[:, 16:].max() > 1e-4, "the backward half has not seen the frame"
    assert model.per_frame(videos()).shape == (2, 4, 5)


def _features(model, clips):
    return model.net(clips.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(clips), -1))


@pytest.mark.parametrize("cell", CELLS)
def test_attacks_in_evaluation_mode_raise_the_loss(cell):
    model = FrameClassifier(net(cell), 5, 0.45, 0.225).eval()
    clips = videos()
    labels = model(clips).argmax(dim=1)
    x_adv = PGD(eps="16/255", steps=5)(model, clips, labels)
    with torch.no_grad():
        before, after = (nn.functional.cross_entropy(model(x), labels) for x in (clips, x_adv))
    assert after > before + 1e-3
    assert not model.net.rnn.training


def test_end_to_end_training_reaches_every_weight():
    model = net().train()
    model(videos()).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_frozen_features_stay_while_the_rest_learns():
    model = net(train_backbone=False).train()
    before = copy.deepcopy(model.net.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    head = model.fc.weight.detach().clone()
    clips = videos().requires_grad_()
    nn.functional.cross_entropy(model(clips), torch.tensor([1, 2])).backward()
    optimizer.step()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.net.state_dict().items())
    assert not torch.equal(head, model.fc.weight)
    assert (clips.grad != 0).float().mean() > 0.9, "attacks must still pass through the CNN"
    assert model.rnn.training
    assert not any(module.training for module in model.net.modules())


def test_torchvisions_file_fills_the_backbone(tmp_path):
    torch.manual_seed(1)
    theirs = torchvision.models.resnet18(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    model = net(backbone="resnet18")
    report = load_local_weights(model, tmp_path / "resnet18.pth")
    assert report.unexpected == ["net.fc.weight", "net.fc.bias"]
    theirs.fc = nn.Identity()
    images = videos()[:, :, 0]
    torch.testing.assert_close(model.net(images), theirs.eval()(images))


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_the_papers_backbone_is_inception_v3(cell):
    model = net(cell, backbone="inception_v3")
    clips = torch.rand(1, 3, 2, 75, 75, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(clips).sum(), clips)
    assert model.rnn.input_size == 2048
    assert (gradient.abs().amax(dim=(0, 1, 3, 4)) > 0).all()


def test_mixed_precision_and_double_precision_agree():
    model, clips = net(), videos()
    exact = copy.deepcopy(model).double()(clips.double())
    torch.testing.assert_close(model(clips).double(), exact, rtol=1e-3, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert (model(clips).double() - exact).abs().max() < 0.05


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "tcn"},
        {"backbone": "vgg"},
        {"readout": "first"},
        {"hidden": 0},
        {"layers": 0},
        {"width": 0.01},
        {"backbone": "resnet18", "width": 0.5},
    ],
)
def test_impossible_settings_are_refused(options):
    with pytest.raises(AdvvidError, match=r"choose|leave|at least"):
        net(**options)


def test_a_cnn_trained_by_itself_hands_its_features_to_a_recurrent_part(tmp_path):
    """DeepSAVA, sec. 4.3: the CNN is trained on frames, then the LSTM on its features, which stay as they are."""
    alone = net("none")
    clips = videos()
    frames = torch.stack([alone(clips[:, :, t : t + 1]) for t in range(clips.shape[2])])
    torch.testing.assert_close(alone(clips), frames.mean(dim=0))
    torch.save(alone.state_dict(), tmp_path / "cnn.pt")
    reader = net("lstm", readout="mean", train_backbone=False)
    load_local_weights(reader, tmp_path / "cnn.pt")
    for name, value in alone.net.state_dict().items():
        assert torch.equal(value, reader.net.state_dict()[name]), name
    assert {name.split(".")[0] for name, p in reader.named_parameters() if p.requires_grad} == {"rnn", "fc"}

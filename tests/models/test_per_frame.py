"""Networks that see single frames: averages, answers per frame, and nothing that leaks between frames."""

import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from torch import nn

from advvid.config.catalogue import option_files, settings
from advvid.core.errors import AdvvidError
from advvid.models.build import build_model
from advvid.models.per_frame import FrameAverage, FrameClassifier, PerFrame
from advvid.models.r3d_tiny import R3DTiny
from advvid.models.resnet18_2d import ResNet18
from advvid.models.weights import load_local_weights

SMALL = {
    "inception_v3": {"size": 75},
    "resnet18_2d": {"width": 0.25},
    "cnn_rnn": {},
    "cnn_lstm": {},
    "cnn_gru": {},
}


def build(name, shape=(3, 4, 32, 32), **options):
    cfg = OmegaConf.create({"model": settings(option_files("model")[name])})
    for key, value in {**SMALL[name], **options}.items():
        OmegaConf.update(cfg, f"model.{key}", value)
    torch.manual_seed(0)
    return build_model(cfg.model, 5, shape).eval()


def videos(frames=4, batch=2):
    return torch.rand(batch, 3, frames, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SMALL)
def test_every_frame_is_answered_by_itself(name):
    model, clips = build(name), videos()
    assert isinstance(model, PerFrame)
    assert isinstance(model.net, PerFrame)
    answers = model.per_frame(clips)
    assert answers.shape == (2, 4, 5)
    for t in range(4):
        torch.testing.assert_close(answers[:, t], model(clips[:, :, t : t + 1]), rtol=1e-4, atol=1e-5)
    changed = clips.clone()
    changed[:, :, 2] = 1 - changed[:, :, 2]
    same = (model.per_frame(changed) - answers).abs().amax(dim=(0, 2)) < 1e-5
    assert same.tolist() == [True, True, False, True]


@pytest.mark.parametrize("name", ["inception_v3", "resnet18_2d"])
def test_logits_are_the_mean_over_frames(name):
    model, clips = build(name), videos()
    torch.testing.assert_close(model(clips), model.per_frame(clips).mean(dim=1))
    torch.testing.assert_close(model(clips.flip(2)), model(clips), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_the_gradient_reaches_every_pixel_in_evaluation_mode(name):
    model = build(name)
    clips = videos().requires_grad_()
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(clips), torch.tensor([1, 2])), clips)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).float().mean() > 0.9


def test_all_frames_of_all_views_are_answered_at_the_networks_size():
    torch.manual_seed(0)
    model = FrameClassifier(FrameAverage(ResNet18(5, 0.125)), 5, 0.45, 0.225, size=16, frames=2, views=2).eval()
    clips = videos(frames=6)
    answers = model.per_frame(clips)
    assert answers.shape == (2, 6, 5)
    one = FrameClassifier(model.net, 5, 0.45, 0.225, size=16).eval()
    torch.testing.assert_close(answers[:, 5], one(clips[:, :, 5:]))


def test_a_network_that_sees_time_only_as_a_whole_is_refused():
    with pytest.raises(AdvvidError, match="R3DTiny gives no output per frame"):
        FrameClassifier(R3DTiny(5), 5, 0.45, 0.225).per_frame(videos())


def test_resnet18_has_the_size_known_from_cifar_and_torchvisions_names():
    net = ResNet18(10)
    assert sum(p.numel() for p in net.parameters()) == 11_173_962
    theirs = torchvision.models.resnet18(weights=None, num_classes=10).state_dict()
    own = net.state_dict()
    assert own.keys() == theirs.keys()
    assert [k for k in own if own[k].shape != theirs[k].shape] == ["conv1.weight"]
    features = nn.Sequential(net.conv1, net.layer1)(torch.rand(1, 3, 32, 32))
    assert features.shape[-2:] == (32, 32), "the stem must not shrink small images"
    assert ResNet18(10, 0.25).fc.in_features == 128
    with pytest.raises(AdvvidError, match="without channels"):
        ResNet18(10, 0.001)


def test_torchvisions_file_of_inception_v3_fits(tmp_path):
    torch.manual_seed(1)
    theirs = torchvision.models.inception_v3(weights=None, init_weights=False)  # with its auxiliary head, 1000 classes
    torch.save(theirs.state_dict(), tmp_path / "inception.pth")
    model = build("inception_v3")
    report = load_local_weights(model.net, tmp_path / "inception.pth")
    assert report.share == 1
    assert not report.missing
    assert report.head == ["net.fc.weight", "net.fc.bias"]
    assert all("AuxLogits" in name for name in report.unexpected)
    clips = videos(batch=1)
    theirs.fc, theirs.transform_input = model.net.net.fc, False
    frames = nn.functional.interpolate(clips[0].transpose(0, 1), (75, 75), mode="bilinear", antialias=True)
    torch.testing.assert_close(model.per_frame(clips)[0], theirs.eval()(2 * frames - 1), rtol=1e-3, atol=1e-4)

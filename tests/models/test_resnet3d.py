"""The 3-D ResNets of Hara et al.: sizes, names and shapes as published, so that their files of weights load."""

import logging

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from advvid.config.catalogue import option_files, settings
from advvid.core.errors import AdvvidError
from advvid.models.build import build_model
from advvid.models.resnet3d import ResNet3D
from advvid.models.weights import load_local_weights

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
# Of the published files: depth, family, shortcut, and weights with 400 classes.
PUBLISHED = {
    "resnet3d_18": (18, "resnet", "A", 33_235_280),
    "resnet3d_34": (34, "resnet", "A", 63_544_912),
    "resnet3d_50": (50, "resnet", "B", 47_018_576),
    "resnet3d_101": (101, "resnet", "B", 86_064_720),
    "wide_resnet3d_50": (50, "wide", "B", 158_248_272),
    "resnext3d_50": (50, "resnext", "B", 26_685_264),
    "resnext3d_101": (101, "resnext", "B", 48_340_816),
}
MEAN_2017 = (114.7748, 107.7354, 99.475)
MEAN_2020, STD_2020 = [0.4345, 0.4051, 0.3775], [0.2768, 0.2713, 0.2737]


def shapes(depth, family, shortcut, classes=400):
    """Write down the names and shapes of a published file, from the description of the architecture alone."""
    found = {}

    def convolution(name, out, inner, side):
        found[f"{name}.weight"] = (out, inner, side, side, side)

    def norm(name, channels):
        found.update({f"{name}.{what}": (channels,) for what in ("weight", "bias", "running_mean", "running_var")})

    convolution("conv1", 64, 3, 7)
    norm("bn1", 64)
    before = 64
    for stage, blocks in enumerate(BLOCKS[depth]):
        inner = (64 if family == "resnet" else 128) * 2**stage
        out = inner if depth < 50 else inner * (4 if family == "resnet" else 2)
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            if depth < 50:
                convolution(f"{name}.conv1", inner, before, 3)
                convolution(f"{name}.conv2", inner, inner, 3)
            else:
                convolution(f"{name}.conv1", inner, before, 1)
                convolution(f"{name}.conv2", inner, inner // (32 if family == "resnext" else 1), 3)
                convolution(f"{name}.conv3", out, inner, 1)
                norm(f"{name}.bn3", out)
            norm(f"{name}.bn1", inner)
            norm(f"{name}.bn2", inner)
            if shortcut == "B" and (before != out or (block == 0 and stage > 0)):
                convolution(f"{name}.downsample.0", out, before, 1)
                norm(f"{name}.downsample.1", out)
            before = out
    return found | {"fc.weight": (classes, before), "fc.bias": (classes,)}


def file_of(shapes, path):
    """Save what the authors' training saved: no counters in BatchNorm, names as of several GPUs, and an optimiser."""
    state = {
        f"module.{name}": torch.tensor([i / 1000]).expand(shape) for i, (name, shape) in enumerate(shapes.items(), 1)
    }
    optimizer = {"state": {}, "param_groups": [{"lr": 0.1, "momentum": 0.9, "params": [0, 1]}]}
    torch.save({"epoch": 150, "arch": "resnext-101", "state_dict": state, "optimizer": optimizer}, path)
    return path


def config(name, **options):
    cfg = OmegaConf.create({"model": settings(option_files("model")[name])})
    for key, value in options.items():
        OmegaConf.update(cfg, f"model.{key}", value)
    return cfg.model


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_shapes_and_counts_are_the_published_ones(name):
    depth, family, shortcut, count = PUBLISHED[name]
    node = config(name).net
    assert (node.depth, node.get("family", "resnet"), node.shortcut) == (depth, family, shortcut)
    with torch.device("meta"):
        net = ResNet3D(400, depth, family, shortcut)
    expected = shapes(depth, family, shortcut)
    state = net.state_dict()
    assert {n: tuple(t.shape) for n, t in state.items() if not n.endswith("num_batches_tracked")} == expected
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize("name", ["resnet3d_18", "resnext3d_101"])
def test_a_published_file_loads_completely(name, tmp_path, caplog):
    depth, family, shortcut, _ = PUBLISHED[name]
    expected = shapes(depth, family, shortcut)
    path = file_of(expected, tmp_path / "published.pth")
    net = ResNet3D(400, depth, family, shortcut)
    with caplog.at_level(logging.INFO):
        report = load_local_weights(net, path)
    assert (report.share, report.missing, report.unexpected, report.mismatched, report.head) == (1, [], [], [], [])
    assert caplog.records[-1].levelno == logging.INFO, "a complete file deserves no warning"
    state = net.state_dict()
    for i, tensor_name in enumerate(expected, 1):
        assert (state[tensor_name] == torch.tensor(i / 1000)).all(), tensor_name

    other = build_model(config(name, checkpoint=str(path)), 101, (3, 16, 112, 112))
    assert other.net.fc.out_features == 101
    assert torch.equal(other.net.layer4[1].conv2.weight, net.layer4[1].conv2.weight)


@pytest.mark.parametrize(
    ("net", "others"),
    [
        (("resnet", 18, "A"), [("resnet", 34, "A"), ("resnet", 50, "B")]),
        (("resnet", 34, "A"), [("resnet", 18, "A")]),
        (("resnet", 50, "B"), [("resnet", 101, "B"), ("wide", 50, "B"), ("resnext", 50, "B")]),
        (("resnext", 50, "B"), [("resnext", 101, "B"), ("wide", 50, "B")]),
    ],
)
def test_a_relatives_file_is_refused(net, others, tmp_path):
    family, depth, shortcut = net
    with torch.device("meta"):
        network = ResNet3D(400, depth, family, shortcut)
    for other_family, other_depth, other_shortcut in others:
        path = file_of(shapes(other_depth, other_family, other_shortcut), tmp_path / "other.pth")
        with pytest.raises(AdvvidError, match="choose the model that they belong to"):
            load_local_weights(network, path)


def test_both_normalisations_of_the_published_files(tmp_path):
    clips = torch.rand(2, 3, 8, 32, 32)

    def seen(**options):
        model = build_model(config("resnet3d_50", width=0.0625, **options), 5, (3, 8, 32, 32)).eval()
        inputs = []
        model.net.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        model(clips)
        return inputs[-1]

    mean = torch.tensor(MEAN_2017).view(1, 3, 1, 1, 1)
    torch.testing.assert_close(seen(), clips * 255 - mean, rtol=1e-5, atol=1e-3)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1, 1) for v in (MEAN_2020, STD_2020))
    torch.testing.assert_close(seen(mean=MEAN_2020, std=STD_2020), (clips - mean) / std)


def test_shortcut_a_pads_with_zeros_and_lets_gradients_through():
    torch.manual_seed(0)
    net = ResNet3D(5, 18, shortcut="A", width=0.125).eval()
    block = net.layer2[0]
    x = torch.rand(1, 8, 4, 6, 6, requires_grad=True)
    kept = block.downsample(x)
    assert kept.shape == (1, 16, 2, 3, 3)
    assert torch.equal(kept[:, :8], x[:, :, ::2, ::2, ::2])
    assert not kept[:, 8:].any()
    for branch in (block.conv1, block.conv2):
        nn.init.zeros_(branch.weight)
    (gradient,) = torch.autograd.grad(block(x).sum(), x)
    assert torch.equal(gradient, mask(x)), "nothing comes through where the shortcut looks"


def mask(x):
    """Return one where the shortcut looks, zero elsewhere."""
    grid = torch.zeros_like(x)
    grid[:, :, ::2, ::2, ::2] = 1
    return grid


@pytest.mark.parametrize(("frames", "time_stride", "left"), [(16, 1, 1), (64, 1, 4), (64, 2, 2)])
def test_time_is_divided_by_16_or_32(frames, time_stride, left):
    with torch.device("meta"):
        net = ResNet3D(5, 50, width=0.25, time_stride=time_stride)
        features = []
        net.layer4.register_forward_hook(lambda _m, _i, out: features.append(out.shape))
        net(torch.empty(1, 3, frames, 112, 112))
    assert features == [(1, 512, left, 4, 4)]


def test_impossible_options_are_refused():
    for options, words in (
        ({"depth": 20}, "depth=20 is not possible: choose 10, 18"),
        ({"depth": 34, "family": "wide"}, "choose 50, 101 or 152"),
        ({"family": "resnest"}, "choose resnet, wide or resnext"),
        ({"shortcut": "C"}, "choose A or B"),
        ({"cardinality": 0}, "at least 1"),
        ({"width": 0.001}, "without channels"),
    ):
        with pytest.raises(AdvvidError, match=words):
            ResNet3D(5, **options)

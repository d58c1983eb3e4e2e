"""I3D: the published size and names, TensorFlow's padding, logits averaged over time."""

import pytest
import torch
import torch.nn.functional as F

from advvid.core.errors import AdvvidError
from advvid.models.i3d import I3D, pad_same
from advvid.models.weights import load_local_weights

# Szegedy et al. 2015, table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5 (3x3x3 here), pool projection.
INCEPTION = {
    "Mixed_3b": (192, (64, 96, 128, 16, 32, 32)),
    "Mixed_3c": (256, (128, 128, 192, 32, 96, 64)),
    "Mixed_4b": (480, (192, 96, 208, 16, 48, 64)),
    "Mixed_4c": (512, (160, 112, 224, 24, 64, 64)),
    "Mixed_4d": (512, (128, 128, 256, 24, 64, 64)),
    "Mixed_4e": (512, (112, 144, 288, 32, 64, 64)),
    "Mixed_4f": (528, (256, 160, 320, 32, 128, 128)),
    "Mixed_5b": (832, (256, 160, 320, 32, 128, 128)),
    "Mixed_5c": (832, (384, 192, 384, 48, 128, 128)),
}


def shapes(classes=400):
    """Write down the names and shapes of the port's files."""
    units = {"Conv3d_1a_7x7": (3, 64, 7), "Conv3d_2b_1x1": (64, 64, 1), "Conv3d_2c_3x3": (64, 192, 3)}
    for name, (before, (b0, b1a, b1b, b2a, b2b, b3b)) in INCEPTION.items():
        units |= {f"{name}.b0": (before, b0, 1), f"{name}.b1a": (before, b1a, 1), f"{name}.b1b": (b1a, b1b, 3)}
        units |= {f"{name}.b2a": (before, b2a, 1), f"{name}.b2b": (b2a, b2b, 3), f"{name}.b3b": (before, b3b, 1)}
    found = {}
    for name, (before, out, side) in units.items():
        found[f"{name}.conv3d.weight"] = (out, before, side, side, side)
        found |= {f"{name}.bn.{what}": (out,) for what in ("weight", "bias", "running_mean", "running_var")}
    return found | {"logits.conv3d.weight": (classes, 1024, 1, 1, 1), "logits.conv3d.bias": (classes,)}


def test_names_shapes_and_count_are_the_published_ones():
    with torch.device("meta"):
        net = I3D(400)
    state = {n: tuple(t.shape) for n, t in net.state_dict().items() if not n.endswith("num_batches_tracked")}
    assert state == shapes()
    logits = 400 * 1025
    assert sum(p.numel() for p in net.parameters()) - logits == 12_287_264, "12.29 M without the classes"


def test_a_file_of_the_port_loads_completely(tmp_path):
    expected = shapes()
    state = {name: torch.tensor([i / 1000]).expand(shape) for i, (name, shape) in enumerate(expected.items(), 1)}
    torch.save(state, tmp_path / "rgb_imagenet.pt")
    net = I3D(101)
    report = load_local_weights(net, tmp_path / "rgb_imagenet.pt")
    assert (report.share, report.missing, report.unexpected, report.mismatched) == (1, [], [], [])
    assert report.head == ["logits.conv3d.weight", "logits.conv3d.bias"]
    for i, name in enumerate(expected, 1):
        assert name in report.head or (net.state_dict()[name] == torch.tensor(i / 1000)).all(), name


@pytest.mark.parametrize("reach", [1, 2, 3, 7])
@pytest.mark.parametrize("step", [1, 2])
def test_same_padding_gives_the_sides_of_tensorflow_and_puts_the_odd_one_last(reach, step):
    for side in range(1, 20):
        x = torch.ones(1, 1, 1, 1, side)
        padded = pad_same(x, (1, 1, reach), (1, 1, step))
        assert F.avg_pool3d(padded, (1, 1, reach), (1, 1, step)).shape[-1] == -(-side // step)
        row = padded.flatten().tolist()
        front, back = row.index(1.0), row[::-1].index(1.0)
        assert back - front in (0, 1)
    assert pad_same(torch.ones(1, 1, 64, 224, 224), (7, 7, 7), (2, 2, 2)).shape[2:] == (69, 229, 229)


@pytest.mark.parametrize(("frames", "windows"), [(64, 7), (40, 4)])
def test_the_published_clips_give_the_published_grid(frames, windows):
    with torch.device("meta"):
        net, seen = I3D(5, width=0.25), []
        net.Mixed_5c.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[2:])))
        net.logits.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape)))
        assert net(torch.empty(2, 3, frames, 224, 224)).shape == (2, 5)
    assert seen == [(windows + 1, 7, 7), (2, 5, windows, 1, 1)]


def test_logits_are_the_mean_over_pairs_of_feature_frames():
    torch.manual_seed(0)
    net = I3D(5, width=0.25).eval()
    features = []
    net.Mixed_5c.register_forward_hook(lambda _m, _i, out: features.append(out))
    with torch.no_grad():
        logits = net(torch.rand(2, 3, 24, 48, 48))
        frames = features[0].mean(dim=(3, 4))
        assert frames.shape[2] == 3
        pairs = [(frames[:, :, t] + frames[:, :, t + 1]) / 2 for t in range(2)]
        weight, bias = net.logits.conv3d.weight.flatten(1), net.logits.conv3d.bias
        expected = sum(pair @ weight.T + bias for pair in pairs) / 2
    torch.testing.assert_close(logits, expected)


def test_every_convolution_but_the_last_has_its_batchnorm_of_tensorflow():
    net = I3D(5, width=0.25)
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm3d)]
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv3d)]
    assert len(convolutions) == len(norms) + 1 == 3 + 9 * 6 + 1
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}
    with pytest.raises(AdvvidError, match=r"model\.width=0\.01 leaves branches"):
        I3D(5, width=0.01)

"""C3D: the published size, names and geometry."""

import re

import pytest
import torch
from torch import nn

from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir
from advvid.models.c3d import C3D
from advvid.models.classifier import VideoClassifier
from advvid.models.weights import load_local_weights

CHANNELS = {"1a": 64, "2a": 128, "3a": 256, "3b": 256, "4a": 512, "4b": 512, "5a": 512, "5b": 512}


def shapes(classes=101):
    """Write down the names and shapes as in Tran et al., figure 3."""
    found, before = {}, 3
    for name, channels in CHANNELS.items():
        found |= {f"conv{name}.weight": (channels, before, 3, 3, 3), f"conv{name}.bias": (channels,)}
        before = channels
    for name, out, inner in (("fc6", 4096, 512 * 4 * 4), ("fc7", 4096, 4096), ("fc8", classes, 4096)):
        found |= {f"{name}.weight": (out, inner), f"{name}.bias": (out,)}
    return found


def test_names_shapes_and_count_are_the_published_ones():
    with torch.device("meta"):
        net = C3D(101)
    assert {name: tuple(p.shape) for name, p in net.named_parameters()} == shapes()
    assert sum(p.numel() for p in net.parameters()) == 78_409_573


def test_pooling_halves_all_but_time_at_first():
    with torch.device("meta"):
        net, seen = C3D(5), []
        for number in range(1, 6):
            net.get_submodule(f"pool{number}").register_forward_hook(lambda _m, _i, out: seen.append(out.shape[2:]))
        assert net(torch.empty(2, 3, 16, 112, 112)).shape == (2, 5)
    assert seen == [(16, 56, 56), (8, 28, 28), (4, 14, 14), (2, 7, 7), (1, 4, 4)]


@pytest.mark.parametrize(("pool5", "windows"), [("both", [0, 2, 4, 6]), ("end", [1, 3, 5, 6])])
def test_pool5_pads_both_sides_or_the_end(pool5, windows):
    net = C3D(5, width=0.0625, pool5=pool5)
    rows = torch.arange(7.0).view(1, 1, 1, 7, 1).expand(1, 1, 2, 7, 7)
    assert net.pool5(rows)[0, 0, 0, :, 0].tolist() == windows, "the largest row of each window"


@pytest.mark.parametrize("pool5", ["both", "end"])
@pytest.mark.parametrize(("frames", "size"), [(16, 112), (8, 32), (4, 30), (1, 17), (13, 96)])
def test_fc6_fits_any_clip_that_it_is_told_of(frames, size, pool5):
    with torch.device("meta"):
        net = C3D(5, frames=frames, size=size, width=0.25, pool5=pool5)
        assert net(torch.empty(2, 3, frames, size, size)).shape == (2, 5)


def renamed(name, style):
    if style == "port":
        return name.replace("conv1a", "conv1").replace("conv2a", "conv2")
    if style == "framework":
        if name.startswith("fc8"):
            return "cls_head.fc_cls" + name[3:]
        return "backbone." + (name.replace(".", ".conv.", 1) if name.startswith("conv") else name)
    return name


@pytest.mark.parametrize("style", ["paper", "port", "framework"])
def test_files_of_other_projects_load_completely(style, tmp_path):
    torch.manual_seed(0)
    source, net = (C3D(5, frames=8, size=32, width=0.0625) for _ in range(2))
    torch.save({"state_dict": {renamed(k, style): v for k, v in source.state_dict().items()}}, tmp_path / "w.pth")
    report = load_local_weights(net, tmp_path / "w.pth")
    assert (report.share, report.missing, report.unexpected) == (1, [], [])
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), net.parameters(), strict=True))


def test_signals_keep_their_scale_from_layer_to_layer():
    torch.manual_seed(0)
    net = C3D(10, frames=8, size=32, width=0.25).eval()
    deviations = []
    for name in ("conv3b", "conv5b", "fc7"):
        net.get_submodule(name).register_forward_hook(lambda _m, _i, out: deviations.append(out.std().item()))
    with torch.no_grad():
        net(torch.randn(4, 3, 8, 32, 32))
    assert all(0.2 < deviation < 20 for deviation in deviations), deviations


def test_what_c3d_cannot_take_is_refused():
    net = C3D(5, frames=8, size=32, width=0.0625)
    with pytest.raises(AdvvidError, match=r"takes clips of 8 x 32 x 32, not 16 x 32 x 32: set model\.frames"):
        net(torch.rand(1, 3, 16, 32, 32))
    for options, words in (
        ({"pool5": "start"}, "choose both or end"),
        ({"width": 0.001}, "without channels"),
        ({"size": None}, "C3D.size=None is not possible"),
        ({"frames": 0}, "C3D.frames=0 is not possible"),
    ):
        with pytest.raises(AdvvidError, match=words):
            C3D(5, **options)


def test_the_configuration_names_the_normalisation_of_the_published_weights():
    options = re.search(r"model\.mean=\[(.*)\] model\.std=([\d.]+)", (conf_dir() / "model" / "c3d.yaml").read_text())
    mean, std = [float(value) for value in options[1].split(",")], float(options[2])
    clips = torch.rand(1, 3, 2, 4, 4)
    model = VideoClassifier(nn.Identity(), 5, mean, std)
    expected = clips * 255 - torch.tensor([104.0, 117.0, 128.0]).view(1, 3, 1, 1, 1)
    torch.testing.assert_close(model(clips), expected, rtol=1e-5, atol=1e-3)

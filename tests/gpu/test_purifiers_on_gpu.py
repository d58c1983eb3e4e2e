"""Every purifier and the detector on a simulated GPU: the bits of the CPU, forward and backward."""

import sys
from pathlib import Path

import pytest
import torch

from simulated_gpu import CUDA, SimulatedGpu, same_bits

sys.path.insert(0, str(Path(__file__).parents[1] / "contracts"))
from test_configs import composed

from advvid.config.catalogue import option_files
from advvid.config.instantiate import safe_instantiate
from advvid.experiment.parts import made_routing
from advvid.models.per_frame import FrameAverage, FrameClassifier
from advvid.models.resnet18_2d import ResNet18
from advvid.purifiers.comdefend_networks import ComDefendNetworks, save_networks

NAMES = list(option_files("purifier"))


def draws(count):
    return [torch.Generator().manual_seed(i) for i in range(count)]


def both_ways(module, clips, *more):
    """Return what a module gives, and the gradient of a weighted sum of it."""
    x = clips.detach().requires_grad_()
    out = module(x, *more)
    (out * torch.linspace(0, 1, out.shape[-1], device=clips.device)).sum().backward()
    return out, x.grad


@pytest.mark.parametrize("name", NAMES)
def test_every_purifier_gives_the_bits_of_the_cpu(name, noise, tmp_path):
    if name == "comdefend":
        torch.manual_seed(0)
        save_networks(tmp_path / "untrained.pt", ComDefendNetworks(0.1), 1.0, "nothing")
    needs = {"checkpoint": str(tmp_path / "untrained.pt")} if name == "comdefend" else {}
    purifier = safe_instantiate(composed(f"purifier=[{name}]").purifier[name], **needs).eval()
    first = both_ways(purifier, noise, draws(2))
    with SimulatedGpu():
        second = both_ways(purifier.to(CUDA), noise.to(CUDA), draws(2))
    assert second[0].device == second[1].device == CUDA
    assert same_bits(first, second)


def test_the_detector_gives_the_bits_of_the_cpu(clips):
    torch.manual_seed(0)
    model = FrameClassifier(FrameAverage(ResNet18(5, 0.125)), 5, 0.45, 0.225, clip_shape=(3, 4, 16, 16)).eval()
    routed = made_routing(composed("detector=temporal_consistency"), (3, 4, 16, 16)).route(model)
    first = routed.verdict(clips), both_ways(routed, clips)
    with SimulatedGpu():
        model.to(CUDA), routed.to(CUDA)
        assert same_bits(first, (routed.verdict(clips.to(CUDA)), both_ways(routed, clips.to(CUDA))))

"""(g) A pass of every network of the five papers, from which ``benchmarks.hours`` estimates their full-scale runs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from advvid.attacks.base import frozen
from advvid.models.ape_gan import Generator
from advvid.models.build import build_model
from benchmarks.measure import Part, Setup, interleave, middle, spread
from benchmarks.networks import CLASSES, SHAPE, TINY, composed, noise, pass_operations, untrained

# What the speed of every network is held against, so that what a network does badly here it does badly there.
REFERENCE = "r3d_18"
DRAWS = ("trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_uniform_", "normal_", "uniform_")


@dataclass(frozen=True)
class Network:
    """A network of the papers at their input size.

    Args:
        title: in the table.
        overrides: of the configuration.
        shape: of one input.
    """

    title: str
    overrides: tuple[str, ...]
    shape: tuple[int, ...]


INCEPTION_LSTM = (
    "model=cnn_lstm", "model.net.backbone=inception_v3", "model.size=299", "model.mean=0.5", "model.std=0.5",
    "model.net.hidden=512",
)  # fmt: skip
NETWORKS = {
    "resnext101_16": Network("ResNeXt-101", ("model=resnext3d_101",), (3, 16, 112, 112)),
    "resnext101_40": Network("ResNeXt-101", ("model=resnext3d_101",), (3, 40, 112, 112)),
    "resnet50_40": Network("3D ResNet-50", ("model=resnet3d_50",), (3, 40, 112, 112)),
    "ape_gan_16": Network("APE-GAN generator", (), (3, 16, 112, 112)),
    "i3d_40": Network("I3D", ("model=i3d",), (3, 40, 224, 224)),
    "inception_40": Network("Inception-v3", ("model=inception_v3",), (3, 40, 224, 224)),
    "cnn_lstm_40": Network("CNN + LSTM", INCEPTION_LSTM, (3, 40, 224, 224)),
    "c3d_16": Network("C3D", ("model=c3d",), (3, 16, 112, 112)),
    "features": Network("feature transformer", ("model=feature_transformer",), (300, 1152)),
}


def network(key: str, setup: Setup) -> nn.Module:
    """Return a network with random weights."""
    chosen = NETWORKS[key]
    torch.manual_seed(0)
    if not chosen.overrides:
        return Generator().to(setup.device).eval()
    return build_model(composed(*chosen.overrides).model, CLASSES, chosen.shape).to(setup.device).eval()


def one(key: str, setup: Setup) -> dict[str, Any]:
    """Measure a network's pass by turns with the reference's."""
    shape = (3, 16, 32, 32) if setup.quick else NETWORKS[key].shape
    model, clip = network(key, setup), noise(1, setup.device, shape)
    name, size = ("r3d_tiny", TINY) if setup.quick else (REFERENCE, SHAPE)
    base, base_clip = untrained(name, setup.device, size), noise(1, setup.device, size)
    work, base_work = pass_operations(model, clip), pass_operations(base, base_clip)  # these passes also warm up
    times = interleave(
        {"own": partial(forward_backward, model, clip), "reference": partial(forward_backward, base, base_clip)},
        setup.rounds(3), setup.device, warm={"own": lambda: None, "reference": lambda: None},
    )  # fmt: skip
    both = zip(times["own"], times["reference"], strict=True)
    return {
        "network": key, "shape": list(shape), "operations": work, "seconds": middle(times, "own"), "times": times,
        "reference": {"model": name, "operations": base_work, "seconds": middle(times, "reference")},
        # Operations per second against the reference's.
        "efficiency": spread([work / a / (base_work / b) for a, b in both if a is not None and b is not None]),
    }  # fmt: skip


def forward_backward(model: nn.Module, clip: Tensor) -> None:
    """Carry out a forward pass and give the gradient of the input."""
    x = clip.clone().requires_grad_()
    with frozen(model):
        torch.autograd.grad(model(x).sum(), x)


def counted(key: str, setup: Setup) -> dict[str, Any]:
    """Return a network's operations without carrying them out, for one that was not measured."""
    nothing = torch.device("meta")
    with ExitStack() as stack:
        for name in DRAWS:  # weights that nobody looks at need not be drawn, which takes Inception-v3 ten seconds
            stack.enter_context(patch(f"torch.nn.init.{name}", lambda tensor, *_, **__: tensor))
        model = network(key, setup).to(nothing)
    work = pass_operations(model, torch.empty(1, *NETWORKS[key].shape, device=nothing))
    return {"network": key, "shape": list(NETWORKS[key].shape), "operations": work, "seconds": None}


def parts(setup: Setup) -> dict[str, Part]:
    """Return the measurements: a pass of every network."""
    chosen = ("resnext101_16", "ape_gan_16") if setup.quick else NETWORKS
    return {key: partial(one, key, setup) for key in chosen}


def lines(results: list[dict[str, Any]]) -> list[str]:
    """Return the passes as Markdown; the hours have a page of their own."""
    text = [
        "## Passes of the papers' networks",
        "",
        "A forward pass with the gradient of the input, one clip, fp32. *Efficiency*: operations per second against those of "
        f"{results[0]['reference']['model']} in the same rounds. What runs of the papers would take: [gpu_hours.md](gpu_hours.md).",
        "",
        "| network | input | 10^9 operations | s | passes/s | efficiency |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in results:
        size, mid = " x ".join(map(str, row["shape"])), row["efficiency"]["median"]
        text.append(
            f"| {NETWORKS[row['network']].title} | {size} | {row['operations'] / 1e9:.1f} | {row['seconds']:.2f} | "
            f"{1 / row['seconds']:.2f} | {mid:.2f} |"
        )
    return text


def targets(results: list[dict[str, Any]], gpu: bool) -> list[tuple[str, float, float, bool]]:
    """Return nothing: there is no figure to reach."""
    return []

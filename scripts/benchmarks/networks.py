"""The networks and clips that the sections measure on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from advvid.attacks.base import frozen
from advvid.config.composed import composed_with_choices
from advvid.models.build import build_model
from benchmarks.measure import Setup
from compare_attacks import COMMON, MODELS, TOP

SHAPE = (3, 16, 112, 112)
TINY = (3, 8, 32, 32)
CLASSES = 400


def composed(*overrides: str) -> DictConfig:
    """Return the configuration of a run."""
    return composed_with_choices(list(overrides))[0]


def untrained(
    name: str,
    device: torch.device,
    shape: Sequence[int] = SHAPE,
    classes: int = CLASSES,
    channels_last: bool | None = None,
) -> nn.Module:
    """Return a network of conf/model with random weights in eval mode, the same at every call."""
    overrides = [] if channels_last is None else [f"model.channels_last={str(channels_last).lower()}"]
    torch.manual_seed(0)
    return build_model(composed(f"model={name}", *overrides).model, classes, shape).to(device).eval()


def noise(batch: int, device: torch.device, shape: Sequence[int] = SHAPE) -> Tensor:
    """Return clips of random pixels, the same at every call."""
    return torch.rand(batch, *shape, generator=torch.Generator().manual_seed(0)).to(device)


def answers(model: nn.Module, clips: Tensor) -> Tensor:
    """Return the model's own answers, which an attack then has to change."""
    with torch.no_grad():
        return model(clips).argmax(dim=1)


def pass_operations(model: nn.Module, clips: Tensor) -> float:
    """Return the floating-point operations of a forward pass and the gradient of its input."""
    with FlopCounterMode(display=False) as counter, frozen(model):
        model(clips.clone().requires_grad_()).sum().backward()  # the counter does not know autograd.grad
    return float(counter.get_total_flops())


def trained(name: str, setup: Setup) -> Path:
    """Return the run folder of a model trained on the embedded data (``benign``, ``at``, ``cat``), made where missing.

    Those of ``scripts/compare_attacks.py`` are the same and are taken where they exist.
    """
    shared = TOP / "outputs" / "compare" / "models" / name
    if (shared / "trained").is_file():
        return shared
    folder = setup.work / ("models_quick" if setup.quick else "models") / name
    if not (folder / "trained").is_file():
        short = ["schedule.epochs=1", "dataset.limit_train=64"] if setup.quick else []
        train(folder, [*MODELS[name].overrides, *COMMON, *short, "resume=true"], setup.threads)
        (folder / "trained").touch()
    return folder


def train(folder: Path, overrides: Sequence[str], threads: int) -> None:
    """Carry out a run of its own, with its words in ``output.txt``."""
    folder.mkdir(parents=True, exist_ok=True)
    command: list[Any] = [
        sys.executable,
        "-m",
        "advvid.train",
        *overrides,
        f"runtime.threads={threads}",
        f"hydra.run.dir={folder.resolve()}",
    ]
    with (folder / "output.txt").open("a") as output:
        subprocess.run(command, check=True, stdout=output, stderr=subprocess.STDOUT, cwd=TOP)

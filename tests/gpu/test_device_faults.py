"""Faults of devices, planted in advvid's own source: a CPU run shows none of them, the simulated GPU or the budget shows each."""

import inspect
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.synchronisations import SHORT, CountedUpdates, budget, of_attack, tiny_runs

from advvid.attacks import roa, square
from advvid.distributed.runtime import Runtime
from advvid.models import classifier
from advvid.models.r3d_tiny import R3DTiny
from advvid.threats import balls, base, rectangles, regions
from advvid.training import trainer
from gpu_rules import DeviceError
from simulated_gpu import CUDA, SimulatedGpu


@dataclass(frozen=True)
class DeviceFault:
    """A line of the source, what is written in its place, and whose run shows it."""

    module: ModuleType
    owner: str
    line: str
    wrong: str
    shown_by: str
    error: type[Exception]


FAULTS = {
    "a dropped device=": DeviceFault(
        square, "span", "torch.arange(size, device=first.device)", "torch.arange(size)", "square", DeviceError
    ),
    "a CPU generator": DeviceFault(
        base, "_source", 'if place.type == "cpu":', "if place.type:", "random_noise", DeviceError
    ),
    "a host tensor indexed by the GPU": DeviceFault(
        roa, "ROA._choose", "torch.cartesian_prod(tops, lefts).to(clips.device, non_blocking=True)", "torch.cartesian_prod(tops, lefts)",
        "roa_search", DeviceError,
    ),
    "a mask on the host": DeviceFault(
        regions, "Border.sample", ".to(x.device, non_blocking=True)", "", "frame_border_w10", DeviceError
    ),
    "a buffer that stays behind": DeviceFault(
        classifier, "VideoClassifier.__init__", 'self.register_buffer("mean", _per_channel(mean), persistent=False)',
        "self.mean = _per_channel(mean)", "the model", DeviceError,
    ),
    ".cpu() in a loop": DeviceFault(
        balls, "LinfBall.ascend", "grad.sign()", "grad.cpu().sign().to(grad.device, non_blocking=True)", "pgd", AssertionError
    ),
    "a blocking copy": DeviceFault(
        rectangles, "Rectangles.sample", "non_blocking=True", "non_blocking=False", "roa", AssertionError
    ),
    ".item() in a step": DeviceFault(
        trainer, "Trainer._add_gradient", "loss.detach() * len(part)", "torch.tensor(loss.item() * len(part))",
        "training", AssertionError,
    ),
}  # fmt: skip


def planted(fault: DeviceFault) -> Any:
    """Return the function with the fault in place of its line, which has to be there."""
    found: Any = fault.module
    for part in fault.owner.split("."):
        found = getattr(found, part)
    source = textwrap.dedent(inspect.getsource(found))
    assert source.count(fault.line) == 1, f"{fault.owner} no longer has the line: plant the fault in another one"
    names = dict(vars(fault.module))
    if "super()" in source:
        source = source.replace("super()", f"super({fault.owner.split('.')[0]}, self)")
    exec("from __future__ import annotations\n" + source.replace(fault.line, fault.wrong), names)
    return names[found.__name__]


def run(shown_by: str, folder: Path) -> None:
    """Do what shows a fault, and hold it to what it has to keep."""
    if shown_by == "the model":
        with SimulatedGpu():
            model = classifier.VideoClassifier(R3DTiny(3, 0.25), 3, 0.45, 0.225, clip_shape=(3, 4, 16, 16)).to(CUDA)
            model(torch.rand(1, 3, 4, 16, 16, device=CUDA))
    elif shown_by == "training":
        with SimulatedGpu() as gpu, CountedUpdates(gpu) as counted:
            tiny_runs.run("none", folder, *SHORT, fabric=Runtime(device="gpu").fabric())
        assert counted.each[1].total() <= budget()["defense"]["none"][1], counted.each[1]
    else:
        waits = of_attack(shown_by)
        assert waits.total() <= budget()["attack"][shown_by][1], waits


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught_and_without_it_there_is_none(name, tmp_path, monkeypatch):
    fault = FAULTS[name]
    run(fault.shown_by, tmp_path / "sound")
    owner: Any = fault.module
    *outer, last = fault.owner.split(".")
    for part in outer:
        owner = getattr(owner, part)
    monkeypatch.setattr(owner, last, planted(fault))
    with pytest.raises(fault.error):
        run(fault.shown_by, tmp_path / "faulty")

"""Measuring by turns: every figure is a ratio within one run, since other load on a machine slows both sides alike."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from advvid.data.loader import cores

Run = Callable[[], object]
# A measurement that is kept by itself, so that a killed run goes on behind it.
Part = Callable[[], dict[str, Any]]
Times = dict[str, list[float | None]]
PACKAGES = ("torch", "torchvision", "lightning-fabric", "torchattacks", "foolbox", "adversarial-robustness-toolbox")
STATUS = Path("/proc/self/status")
MIB = 2**20


@dataclass(frozen=True)
class Setup:
    """What all sections are told.

    Args:
        device: where to compute.
        threads: CPU threads of PyTorch.
        quick: the smallest networks and numbers, to see that everything runs; its figures mean nothing.
        work: where models, runs and parts are kept.
        target: where tables go.
        realdata: folder of real videos; None where there are none.
        most: rounds at most; None for each section's own number.
    """

    device: torch.device
    threads: int
    quick: bool
    work: Path
    target: Path
    realdata: Path | None = None
    most: int | None = None

    @property
    def gpu(self) -> bool:
        """Whether the run computes on a GPU."""
        return self.device.type == "cuda"

    def rounds(self, usual: int) -> int:
        """Return how often the variants of a section run."""
        return 2 if self.quick else min(usual, self.most or usual)

    def kept(self, name: str) -> Path | None:
        """Return where the rounds of a long part are kept until it is done."""
        return None if self.quick else self.work / self.device.type / f"rounds_{name}.json"


def clock(run: Run, device: torch.device) -> float:
    """Return the seconds that a run takes, its work on the device included.

    With one thread on a CPU these are seconds of the processor: what other processes take of it is left out, and on an
    idle machine they are the seconds of the clock.
    """
    now = time.process_time if by_processor(device) else time.perf_counter
    _wait(device)
    began = now()
    run()
    _wait(device)
    return now() - began


def by_processor(device: torch.device) -> bool:
    """Whether ``clock`` counts seconds of the processor."""
    return device.type == "cpu" and torch.get_num_threads() == 1


def interleave(
    variants: Mapping[str, Run],
    rounds: int,
    device: torch.device,
    warm: Mapping[str, Run] | None = None,
    rarely: Collection[str] = (),
    few: int = 3,
    kept: Path | None = None,
) -> Times:
    """Run all variants by turns, each round beginning with another one, and return their seconds per round.

    Args:
        variants: what is compared, by name.
        rounds: number of rounds.
        device: where they compute.
        warm: shorter runs of the same names for the untimed one at the start.
        rarely: names that run in only ``few`` rounds, spread evenly; the others have None there.
        few: see ``rarely``.
        kept: a file that holds the rounds so far, for a run that is killed; those that it has are not run again.

    Example:
        >>> interleave({"a": lambda: None, "b": lambda: None}, 2, torch.device("cpu")).keys()
        dict_keys(['a', 'b'])
    """
    times: Times = {name: [] for name in variants}
    if kept is not None and kept.is_file():
        found = json.loads(kept.read_text())
        times = found if found.keys() == times.keys() else times
    done = len(next(iter(times.values())))
    for name, run in variants.items() if done < rounds else ():
        (warm or {}).get(name, run)()
    chosen = {round(i * rounds / few) for i in range(few)} if few < rounds else set(range(rounds))
    names = list(variants)
    for turn in range(done, rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            left_out = name in rarely and turn not in chosen
            times[name].append(None if left_out else clock(variants[name], device))
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.with_suffix(".tmp").write_text(json.dumps(times))
            kept.with_suffix(".tmp").replace(kept)
    return times


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median of some figures with their range."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "n": len(values)}


def speed_ratio(times: Times, first: str, second: str) -> dict[str, float]:
    """Return how many times as fast ``first`` is as ``second``, from the rounds in which both ran.

    Example:
        >>> speed_ratio({"a": [1.0, 2.0, 1.0], "b": [3.0, 2.0, None]}, "a", "b")
        {'median': 2.0, 'low': 1.0, 'high': 3.0, 'n': 2}
    """
    both = zip(times[first], times[second], strict=True)
    return spread([b / a for a, b in both if a is not None and b is not None])


def middle(times: Times, name: str) -> float:
    """Return the median seconds of a variant."""
    return statistics.median(t for t in times[name] if t is not None)


def shown(figure: Mapping[str, float], digits: int = 2) -> str:
    """Write a median with its range and the number of pairs."""
    low, high = f"{figure['low']:.{digits}f}", f"{figure['high']:.{digits}f}"
    return f"{figure['median']:.{digits}f} [{low}, {high}] ({figure['n']:.0f})"


def reset_peak(device: torch.device) -> float:
    """Start to watch for the most memory from here on, and return the MiB that are in use now."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / MIB
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark comes down to what is resident
    return _status("VmRSS")


def peak(device: torch.device) -> float:
    """Return the most MiB that this process held since ``reset_peak``: resident on a CPU, allocated on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    return _status("VmHWM")


def _status(field: str) -> float:
    lines = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:")]
    return int(lines[0].split()[1]) / 1024


def matrix_speed(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations per second of a large matrix product, the most that a network could reach.

    For float32 with whatever ``torch.set_float32_matmul_precision`` allows at the moment.
    """
    size, repeats = (8192, 10) if device.type == "cuda" else (1536, 3)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    a @ b
    return repeats * 2 * size**3 / clock(lambda: [a @ b for _ in range(repeats)], device)


def machine(setup: Setup) -> dict[str, Any]:
    """Return what the figures were measured on."""
    info = Path("/proc/cpuinfo")
    found = [line for line in info.read_text().splitlines() if "model name" in line] if info.is_file() else []
    gpu = torch.cuda.get_device_name(setup.device) if setup.gpu else None
    return {
        "processor": found[0].split(": ")[1] if found else platform.processor(),
        "cores": cores(),
        "gpu": gpu,
        "threads": setup.threads,
        "processor_time": by_processor(setup.device),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def load() -> float:
    """Return the load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""What the tests share: a small 3-D network and clips, a video and the wheel; and how their time is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import kept_compositions
import quick
from advvid.data.encode import write_video
from small_models import Small3D

os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
kept_compositions.keep()

SHOWN = 15
ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser) -> None:
    parser.addoption("--quick", action="store_true", help="the quickest files of tests alone, see tests/quick.py")
    parser.addoption("--record", action="store_true", help="write down what each file takes, after a whole run")


def pytest_configure(config) -> None:
    left = quick.left_out(quick.recorded()) if config.getoption("quick") else set()
    config.slow_files = {ROOT / name for name in left}


def pytest_ignore_collect(collection_path, config) -> bool | None:
    return collection_path in config.slow_files or None


def pytest_terminal_summary(terminalreporter) -> None:
    """Show where the time of the tests went: the files that took longest, over all processes."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            seconds[getattr(report, "nodeid", "").partition("::")[0]] += getattr(report, "duration", 0)
    config = terminalreporter.config
    if config.getoption("record"):
        quick.record(seconds)
    if config.slow_files:
        terminalreporter.line(f"{len(config.slow_files)} files are left out: make test runs them as well")
    if seconds.total() > 2 * SHOWN:
        terminalreporter.section(f"seconds by file, of {seconds.total():.0f} in all processes")
        for name, taken in seconds.most_common(SHOWN):
            terminalreporter.line(f"{taken:7.1f} {name}")


@pytest.fixture
def small() -> nn.Module:
    torch.manual_seed(0)
    return Small3D().eval()


@pytest.fixture
def clips() -> torch.Tensor:
    return torch.rand(6, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def noise() -> torch.Tensor:
    """Clips whose frames are not square."""
    return torch.rand(2, 3, 3, 16, 24, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def labels(small: nn.Module, clips: torch.Tensor) -> torch.Tensor:
    """What the network answers, but for one clip that is wrong already."""
    with torch.no_grad():
        answers = small(clips).argmax(dim=1)
    answers[2] = (answers[2] + 1) % 5
    return answers


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A video of eight frames, to be copied under the names that a test wants."""
    path = tmp_path_factory.mktemp("film") / "a.avi"
    write_video(path, np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3)).astype(np.uint8), 25)
    return path


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Advvid's wheel, built once and unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(folder / "dist"), str(ROOT)]
    made = subprocess.run(command, capture_output=True, text=True)
    if "No matching distribution found for hatchling" in made.stderr:
        pytest.skip("hatchling, which builds wheels, is not to be had here")
    assert made.returncode == 0, made.stderr
    (built,) = (folder / "dist").glob("*.whl")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(built), str(folder / "site")], check=True)
    return folder / "site"

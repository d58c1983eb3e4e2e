"""Several processes do what one does: the same gradients, the same table, and they stop and go on together."""

import atexit
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from advvid.core import checkpoint
from advvid.distributed.parallel import Processes
from advvid.distributed.runtime import Runtime
from advvid.training.validation import Meter

SMALL = [
    "schedule.epochs=3",
    "schedule.batch_size=8",
    "dataset.limit_train=128",
    "dataset.limit_test=23",
    "dataset.limit_val=20",
    "attack.steps=4",
    "defense=at",
    "evaluation.batch_size=4",
    "tracker=none",
    "runtime.threads=1",
    "schedule.checkpoint_minutes=0",
]


def command(*overrides):
    return [sys.executable, "-m", "advvid.train", *overrides]


def run(*overrides, **more):
    done = subprocess.run(command(*overrides), capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, done.stderr
    return done


def killed(overrides, when):
    """Start a run, kill its second process once a file is there, and return what the first one says."""
    with subprocess.Popen(command(*overrides), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        limit = time.monotonic() + 300
        while not when.exists() and time.monotonic() < limit:
            time.sleep(0.05)
        children = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "spawn_main"], capture_output=True, text=True)
        os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
        _, told = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "Traceback" not in told
    return told


def verdicts(folder):
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    return [(s["id"], s["clean"], {k: (v["pred"], v["steps"]) for k, v in s["attacks"].items()}) for s in lines]


def test_one_process_talks_to_nobody():
    processes, layer = Processes(), nn.Linear(2, 1)
    assert processes.sum([1.0, 2.0]) == [1.0, 2.0]
    assert list(processes.average_gradients(layer.parameters(), 3.0)) == [3.0]
    assert layer.weight.grad is None
    assert processes.main


def exchange(fabric, processes, folder):
    """Each process's part of the test below; Python cannot take it down, which counts for nothing once the work is done."""
    atexit.register(os.abort)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1), nn.Linear(1, 1))
    data = torch.arange(24.0).view(8, 3).sin()
    # The last layer is used by nobody, the third by the first process alone.
    out = net[:2](data[processes.rank :: 2])
    (net[2](out).sum() if processes.main else out.sum()).backward()
    numbers = processes.average_gradients(net.parameters(), float(processes.rank), 1.0)
    processes.average_buffers(net)
    meter = Meter(clips=processes.rank + 1, loss=10.0).together(processes)
    told = processes.first(f"from {processes.rank}")
    if not processes.main:
        state = {
            "grads": [None if p.grad is None else p.grad for p in net.parameters()],
            "mean": net[1].running_mean,
            "numbers": numbers,
            "meter": [meter.clips, meter.loss],
            "told": told,
        }
        torch.save(state, folder / "second.pt")


def test_two_processes_share_gradients_statistics_and_counts_whatever_happens_while_python_ends(tmp_path):
    Runtime(device="cpu", devices=2, threads=1).launch(exchange, tmp_path)
    found = torch.load(tmp_path / "second.pt", weights_only=True)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1), nn.Linear(1, 1))
    data = torch.arange(24.0).view(8, 3).sin()
    means = []
    for rank in (0, 1):
        net[1].reset_running_stats()
        out = net[:2](data[rank::2])
        ((net[2](out).sum() if rank == 0 else out.sum()) / 2).backward()
        means.append(net[1].running_mean.clone())
    for own, parameter in zip(found["grads"], net.parameters(), strict=True):
        assert (own is None) == (parameter.grad is None)
        assert own is None or torch.allclose(own, parameter.grad, atol=1e-6)
    assert torch.allclose(found["mean"], (means[0] + means[1]) / 2, atol=1e-6)
    assert found["numbers"] == [1.0, 2.0]
    assert found["meter"] == [3, 20.0]
    assert found["told"] == "from 0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "run"
    run(*SMALL, "runtime=ddp", f"hydra.run.dir={folder}")
    return folder


@pytest.mark.slow
def test_parts_of_the_weights_give_what_all_of_them_give_and_one_process_scores_it(tmp_path):
    """A run with runtime=fsdp whose second process is killed goes on, and ends as ddp does."""
    small = [
        *SMALL,
        "schedule.epochs=2",
        "schedule.optimizer._target_=torch.optim.SGD",
        "dataset.limit_train=48",
        "dataset.limit_test=9",
        "attack.steps=2",
    ]
    parts, whole = tmp_path / "fsdp", tmp_path / "ddp"
    overrides = [*small, "runtime=fsdp", f"hydra.run.dir={parts}", "resume=true"]
    assert "resume=true" in killed(overrides, parts / "metrics.jsonl")
    run(*overrides)
    run(*small, "runtime=ddp", f"hydra.run.dir={whole}")
    states = [checkpoint.load(folder / "checkpoints" / "last.pt")["model"] for folder in (parts, whole)]
    for (name, one), other in zip(states[0].items(), states[1].values(), strict=True):
        assert torch.allclose(one.float(), other.float(), atol=1e-5), name
    for runtime in ("cpu", "fsdp"):
        scored = tmp_path / f"scored-{runtime}"
        run(
            "mode=eval",
            f"checkpoint={parts}",
            f"runtime={runtime}",
            "tracker=none",
            "runtime.threads=1",
            f"hydra.run.dir={scored}",
        )
        assert verdicts(scored) == verdicts(parts)


@pytest.mark.slow
def test_two_processes_give_the_same_table_as_one(trained, tmp_path):
    run("mode=eval", f"checkpoint={trained}", "tracker=none", "runtime.threads=1", f"hydra.run.dir={tmp_path}")
    assert verdicts(tmp_path) == verdicts(trained)
    one, two = (json.loads((f / "robustness.json").read_text()) for f in (tmp_path, trained))
    for part in ("clean", "mean", "union"):
        assert one[part]["acc"] == two[part]["acc"]
    assert len((trained / "metrics.jsonl").read_text().splitlines()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("when", ["metrics.jsonl", "cells"])
def test_a_killed_process_ends_all_and_the_run_goes_on(trained, tmp_path, when):
    """The second process dies in training or in evaluation; a second start ends as if nothing had been."""
    folder = tmp_path / "run"
    overrides = [*SMALL, "runtime=ddp", f"hydra.run.dir={folder}", "resume=true"]
    assert "resume=true" in killed(overrides, folder / when)
    run(*overrides)
    assert verdicts(folder) == verdicts(trained)


@pytest.mark.slow
def test_a_signal_saves_before_the_end_and_the_run_goes_on(trained, tmp_path):
    folder = tmp_path / "run"
    overrides = [*SMALL, "runtime=ddp", f"hydra.run.dir={folder}", "resume=true"]
    with subprocess.Popen(command(*overrides), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        limit = time.monotonic() + 300
        while not (folder / "checkpoints" / "last.pt").exists() and time.monotonic() < limit:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "stopped by SIGTERM after saving" in told
    run(*overrides)
    assert verdicts(folder) == verdicts(trained)


@pytest.mark.slow
def test_torchrun_starts_the_processes_itself(trained, tmp_path):
    overrides = [*SMALL, "runtime=ddp", f"hydra.run.dir={tmp_path / 'run'}"]
    starter = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "advvid.train",
    ]
    done = subprocess.run([*starter, *overrides], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert verdicts(tmp_path / "run") == verdicts(trained)

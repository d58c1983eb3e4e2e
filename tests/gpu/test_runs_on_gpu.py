"""A whole run on a simulated GPU: trained, killed, gone on with, evaluated and attacked, with the bits and the table of the CPU."""

import json
import sys
from pathlib import Path

import pytest
import torch

from simulated_gpu import SimulatedGpu, same_bits

sys.path.insert(0, str(Path(__file__).parents[1]))
from advvid.core import checkpoint
from advvid.distributed.runtime import Runtime
from advvid.training.trainer import Trainer
from test_attack_mode import go

RUN = [
    "dataset.limit_train=12",
    "dataset.limit_val=4",
    "dataset.limit_test=6",
    "model.width=0.25",
    "defense=at",
    "defense.inner_steps=1",
    "attack.steps=2",
    "schedule.epochs=2",
    "schedule.batch_size=4",
    "schedule.checkpoint_minutes=0",
    "evaluation.batch_size=3",
    "evaluation.micro_batch=2",
    "evaluation.pictures=1",
    "postprocess=uint8",
    "suite=own",
    "+attack@suite.pgd=pgd",
    "suite.pgd.steps=2",
    "+attack@suite.noise=random_noise",
    "+attack@suite.square=square",
    "suite.square.queries=6",
]


def numbers(table):
    """Return what a table says, without times, versions and places."""
    left = {"seconds", "seconds_per_clip", "commit", "versions", "config", "identity"}
    if isinstance(table, dict):
        return {key: numbers(value) for key, value in table.items() if key not in left}
    return [numbers(value) for value in table] if isinstance(table, list) else table


def killed_after(updates):
    """Return an update of the trainer that ends the process after some."""
    left, update = iter(range(updates)), Trainer._update

    def dies(self, *args):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return update(self, *args)

    return dies


def test_a_run_with_a_kill_gives_the_bits_and_the_table_of_the_cpu(tmp_path, monkeypatch):
    first = go(tmp_path / "cpu", *RUN)
    with SimulatedGpu():
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_update", killed_after(4))
            with pytest.raises(KeyboardInterrupt):
                go(tmp_path / "gpu", *RUN, "runtime=gpu")
        second = go(tmp_path / "gpu", *RUN, "runtime=gpu", "resume=true")
    assert numbers(first) == numbers(second)
    states = [checkpoint.load(tmp_path / place / "checkpoints" / "last.pt") for place in ("cpu", "gpu")]
    for part in ("model", "optimizer", "scheduler", "meter", "best"):
        assert same_bits(states[0][part], states[1][part]), part
    lines = [json.loads((tmp_path / p / "samples.jsonl").read_text().splitlines()[0]) for p in ("cpu", "gpu")]
    assert numbers(lines[0]) == numbers(lines[1])


def test_attack_mode_gives_the_clips_of_the_cpu(tmp_path):
    go(tmp_path / "run", *RUN, "mode=train", "schedule.epochs=1")
    asked = ["mode=attack", f"checkpoint={tmp_path / 'run'}", "dataset.limit_test=3", "attack.steps=2"]
    first = go(tmp_path / "cpu", *asked)
    with SimulatedGpu():
        second = go(tmp_path / "gpu", *asked, "runtime=gpu")
    assert numbers(first) == numbers(second)


@pytest.mark.parametrize("tf32", [False, True])
def test_fp32_is_fp32_in_convolutions_too(tf32, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not tf32)
    before = torch.get_float32_matmul_precision()

    def allowed(fabric, processes):
        return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()

    try:
        assert Runtime(device="cpu", tf32=tf32).launch(allowed) == (tf32, "high" if tf32 else "highest")
    finally:
        torch.set_float32_matmul_precision(before)

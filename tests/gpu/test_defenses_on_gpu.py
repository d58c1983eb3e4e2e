"""An update of every defense of conf/defense on a simulated GPU, after what it trains first: the bits of the CPU, few waits."""

import sys
from pathlib import Path

import pytest

from simulated_gpu import CUDA, SimulatedGpu, same_bits

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.synchronisations import SHORT, CountedUpdates, budget, tiny_runs

from advvid.core import checkpoint
from advvid.distributed.runtime import Runtime

split = tiny_runs.split


@pytest.mark.parametrize("name", tiny_runs.NAMES)
def test_an_update_of_every_defense_gives_the_bits_of_the_cpu(name, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_runs, "split", lambda count, seed, frames: split(min(count, 12), seed, frames))
    tiny_runs.run(name, tmp_path / "cpu", *SHORT)
    with SimulatedGpu() as gpu, CountedUpdates(gpu) as counted:
        trainer = tiny_runs.run(name, tmp_path / "gpu", *SHORT, fabric=Runtime(device="gpu").fabric())
    waits = counted.each[1]  # see tests.synchronisations.of_defense
    assert waits.total() <= budget()["defense"].get(name, [0, 0])[1], waits
    assert all(weight.device == CUDA for weight in trainer.model.parameters())
    first, second = (checkpoint.load(tmp_path / place / "checkpoints" / "last.pt") for place in ("cpu", "gpu"))
    for part in ("model", "optimizer", "defense", "meter", "best"):
        assert same_bits(first[part], second[part]), part

"""How often the host waits for a GPU: per attack, per step of each defense, and in the evaluator, counted without a GPU.

    python -m tests.synchronisations            # the table: at first, allowed, now, and the lines that wait
    python -m tests.synchronisations --lower    # allow no more than there is now; the file is never raised

The clips of an attack never fool its model, so that the counts do not depend on when a clip leaves. tests/gpu holds the counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent / "contracts"))
sys.path.insert(0, str(Path(__file__).resolve().parent / "defenses"))

import tiny_runs
import torch
import yaml
from hydra.utils import instantiate
from test_attacks import NAMES as ATTACKS
from test_configs import every

from advvid.attacks import PGD, FrameBorder, RandomNoise, Transfer
from advvid.core.batch import Batch, clip_generators
from advvid.data.content import Contents
from advvid.distributed.runtime import Runtime
from advvid.evaluation.columns import Column
from advvid.evaluation.evaluator import Evaluator
from advvid.tasks.classification import Classification
from advvid.training.trainer import Trainer
from simulated_gpu import CUDA, SimulatedGpu
from small_models import Small3D

FILE = Path(__file__).with_suffix(".yaml")
STEPS, QUERIES = 12, 101
SHORT = ("schedule.epochs=1", "schedule.batch_size=4", "schedule.checkpoint_minutes=60")
Waits = Counter[tuple[str, str]]


def world(clips: int = 6) -> tuple[torch.nn.Module, Batch]:
    """Return a model that nothing fools, and clips with their labels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Small3D().eval()
    with torch.no_grad():
        model.head.bias[0] += 60
    inputs = torch.rand(clips, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    return model, Batch(inputs, torch.zeros(clips, dtype=torch.int64), [f"clip{i}" for i in range(clips)])


def of_attack(name: str) -> Waits:
    """Count what an attack of conf/attack waits for on one batch, at 12 steps or 101 queries where it has so many."""
    attack = instantiate(every("attack")[name], _convert_="all")
    few = {key: most for key, most in (("steps", STEPS), ("queries", QUERIES)) if getattr(attack, key, 0) > most}
    attack, (model, batch) = attack.adjusted(**few), world()
    with SimulatedGpu(own_draws=True) as gpu:
        model, moved = model.to(CUDA), batch.to(CUDA)
        for _ in range(1 + isinstance(attack, Transfer)):  # whose network is uploaded with the first batch
            gpu.waits.clear()
            attack.run(model, moved.inputs, moved.target, clip_generators(0, "column", batch.ids))
    return gpu.waits


class CountedUpdates:
    """Counts what each update of the last trainer waits for, for as long as a block; others trained before it."""

    def __init__(self, gpu: SimulatedGpu) -> None:
        self.gpu, self._all, self._update = gpu, [], Trainer._update
        self._patch = mock.patch.object(Trainer, "_update", lambda trainer, *args: self._counted(trainer, *args))

    def _counted(self, trainer: Trainer, *args) -> bool:
        before = self.gpu.waits.copy()
        result = self._update(trainer, *args)
        self._all.append((trainer, self.gpu.waits - before))
        return result

    @property
    def each(self) -> list[Waits]:
        """The waits of each update."""
        return [waits for trainer, waits in self._all if trainer is self._all[-1][0]]

    def __enter__(self) -> CountedUpdates:
        self._patch.start()
        return self

    def __exit__(self, *error) -> None:
        self._patch.stop()


def of_defense(name: str, folder: Path) -> Waits:
    """Count what one step of training under a defense of conf/defense waits for."""
    with SimulatedGpu() as gpu, CountedUpdates(gpu) as counted:
        tiny_runs.run(name, folder, *SHORT, fabric=Runtime(device="gpu").fabric())
    return counted.each[1]  # the first has uploads of its own, and the last is read


def of_evaluator(folder: Path) -> Waits:
    """Count what the evaluator waits for, the searches left aside, over 4 batches of 3 columns."""
    model, batch = world(8)
    columns = [Column("pgd", PGD(steps=2)), Column("noise", RandomNoise()), Column("border", FrameBorder(steps=2))]

    def batches(numbers):
        for i in (2 * number for number in numbers):
            yield Batch(batch.inputs[i : i + 2], batch.target[i : i + 2], batch.ids[i : i + 2])

    with SimulatedGpu() as gpu:
        evaluator = Evaluator(model=model, task=Classification(), columns=columns, seed=0, device=CUDA, run_dir=folder)
        cells, one = Counter(), evaluator._batch

        def counted(*args):
            before = gpu.waits.copy()
            one(*args)
            cells.update(gpu.waits - before)

        evaluator._batch = counted
        evaluator.run(batches, Contents(batch.ids, batch.ids), 2)
    return Counter(
        {key: n for key, n in cells.items() if not key[1].startswith("attacks/") or "attacks/base.py" in key[1]}
    )


def counted() -> Iterator[tuple[str, str, Waits]]:
    """Count everything there is: group, name and waits."""
    for name in ATTACKS:
        yield "attack", name, of_attack(name)
    with tempfile.TemporaryDirectory() as folder:
        for name in tiny_runs.NAMES:
            yield "defense", name, of_defense(name, Path(folder) / name)
        yield "evaluator", "4 batches of 3 columns", of_evaluator(Path(folder) / "evaluator")


def budget() -> dict[str, dict[str, list[int]]]:
    """Return what was counted at first and what is allowed now, by group and name."""
    return yaml.safe_load(FILE.read_text()) if FILE.is_file() else {}


def main() -> None:
    """Print the table, and lower what is allowed where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lower", action="store_true", help="write what is there now, where it is less than allowed")
    parser.add_argument("--lines", type=int, default=2, help="of the code to show, those that wait most")
    options = parser.parse_args()
    known, rows = budget(), ["group      name                         first allowed now  lines that wait most"]
    for group, name, waits in counted():
        first, allowed = known.get(group, {}).get(name, [waits.total()] * 2)
        known.setdefault(group, {})[name] = [first, min(allowed, waits.total())]
        lines = ", ".join(f"{place} {count}" for (_, place), count in waits.most_common(options.lines))
        rows.append(f"{group:10} {name:28} {first:5} {allowed:7} {waits.total():3}  {lines}")
    sys.stdout.write("\n".join(rows) + "\n")
    if options.lower:
        head = "# How often the host waits for a GPU: [at first, allowed]. Written by python -m tests.synchronisations --lower.\n"
        FILE.write_text(head + yaml.safe_dump(known, default_flow_style=None, sort_keys=True))


if __name__ == "__main__":
    main()

"""Train and score the same run in one process, in several under DDP, and under FSDP; compare tables and speed.

    python scripts/several_gpus.py                                        # on all GPUs of the machine, or 2 CPU processes
    python scripts/several_gpus.py --processes 4 -- dataset=bed_fall model=r3d_18 defense=at schedule.epochs=5

Every run sees batches of as many clips in all, so that they differ by BatchNorm's statistics and by rounding alone; what is
compared with the intervals of the table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

USUAL = ("defense=at", "attack=pgd", "schedule.epochs=3", "dataset.limit_test=100")


def run(folder: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Carry out a run and return its accuracies with their intervals, and its training clips per second."""
    command = [sys.executable, "-m", "advvid.train", *overrides, "tracker=none", f"hydra.run.dir={folder}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    table = json.loads((folder / "robustness.json").read_text())
    columns = {"clean": table["clean"], **table["attacks"]}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    # The first epoch has the start of everything in it.
    speed = statistics.median(line["clips_per_s"] for line in lines[1:] or lines)
    return {"acc": {name: (cell["acc"], cell["ci95"]) for name, cell in columns.items()}, "clips_per_s": speed}


def compared(processes: int, batch: int, overrides: Sequence[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Return what each way of computing came to.

    Args:
        processes: that share the work.
        batch: clips of an update, in all.
        overrides: of every run.
        folder: for the runs.
    """
    share = max(1, batch // processes)
    ways = {
        "one": ("runtime.devices=1", f"schedule.batch_size={share * processes}"),
        "ddp": ("runtime=ddp", f"runtime.devices={processes}", f"schedule.batch_size={share}"),
        "fsdp": ("runtime=fsdp", f"runtime.devices={processes}", f"schedule.batch_size={share}"),
    }
    return {name: run(folder / name, [*overrides, *way]) for name, way in ways.items()}


def told(found: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line per way: its speed against one process, and every column's accuracy with its difference."""
    one, lines = found["one"], []
    for name, result in found.items():
        cells = [
            f"{column} {100 * acc:.1f} ({100 * (acc - one['acc'][column][0]):+.1f}{'' if inside(acc, one, column) else ', outside'})"
            for column, (acc, _) in result["acc"].items()
        ]
        lines.append(f"{name:5} {result['clips_per_s'] / one['clips_per_s']:.2f} times as fast: {', '.join(cells)}")
    return lines


def inside(acc: float, one: dict[str, Any], column: str) -> bool:
    """Tell whether an accuracy lies in the interval that one process found."""
    low, high = one["acc"][column][1]
    return bool(low <= acc <= high)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, and print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=torch.cuda.device_count() or 2)
    parser.add_argument("--batch", type=int, default=32, help="clips of an update, in all processes together")
    parser.add_argument("--out", type=Path, help="file for all results, as JSON")
    parser.add_argument("overrides", nargs="*", default=list(USUAL), help="of every run, after --")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = compared(options.processes, options.batch, options.overrides, Path(folder))
    sys.stdout.write("\n".join(told(found)) + "\n")
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Measure how fast and how large attacks, evaluation and adversarial training are, as ratios within one run.

    python scripts/benchmark.py                        # about 20 minutes on 2 cores; a killed run goes on
    python scripts/benchmark.py --quick                # does everything run? about 2 minutes, its figures mean nothing
    python scripts/benchmark.py --sections attack memory --fresh

Needs ``pip install -e .[peers]``. Computes on a GPU where there is one (``--device cpu`` does not). The two trained models
are those of ``scripts/compare_attacks.py``; where these are missing they are trained first, a few minutes more. Results
go to outputs/published/speed_<device>.{md,json} and gpu_hours.{md,json}.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from advvid.data.loader import cores
from benchmarks import attack
from benchmarks.measure import Setup, load, machine

TOP = Path(__file__).resolve().parent.parent
SECTIONS = {"attack": attack}


def section(name: str, setup: Setup, fresh: bool) -> dict[str, Any]:
    """Return a section's result: as an earlier run left it where it had the same settings and versions, else measured."""
    key = {"quick": setup.quick, **machine(setup)}
    file = setup.work / setup.device.type / f"{name}{'_quick' if setup.quick else ''}.json"
    if file.is_file() and not fresh:
        kept: dict[str, Any] = json.loads(file.read_text())
        if kept["machine"] == key:
            print(f"{name}: kept from {file}", flush=True)
            return kept
    print(f"{name}: measuring ...", flush=True)
    began, before = time.perf_counter(), load()
    result = SECTIONS[name].run(setup)
    measured = {"machine": key, "load": [before, load()], "seconds": time.perf_counter() - began, "result": result}
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".tmp")
    scratch.write_text(json.dumps(measured, indent=1) + "\n")
    scratch.replace(file)
    print("\n".join(SECTIONS[name].lines(result)), flush=True)
    return measured


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=cores(), help="of the CPU; all cores by default")
    parser.add_argument("--quick", action="store_true", help="smallest settings, nothing is published")
    parser.add_argument("--fresh", action="store_true", help="measure again what an earlier run measured")
    parser.add_argument("--work", type=Path, default=TOP / "outputs" / "benchmark", help="where sections are kept")
    parser.add_argument("--target", type=Path, default=TOP / "outputs" / "published", help="where the tables go")
    options = parser.parse_args()
    device = "cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu"
    if options.device == "cuda" and device == "cpu":
        parser.error("--device cuda was asked for but PyTorch sees no GPU: choose --device cpu")
    torch.set_num_threads(options.threads)
    setup = Setup(torch.device(device), options.threads, options.quick, options.work)
    for name in options.sections:
        section(name, setup, options.fresh)


if __name__ == "__main__":
    main()

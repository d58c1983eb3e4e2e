"""Measure how fast and how large attacks, evaluation and adversarial training are, as ratios within one run.

    python scripts/benchmark.py                        # about an hour of one core; a killed run goes on
    python scripts/benchmark.py --quick                # does everything run? about 3 minutes, its figures mean nothing
    python scripts/benchmark.py --sections attack memory --fresh

Needs ``pip install -e .[peers]``, and for the loader real videos (``--realdata`` or $ADVVID_REALDATA). Computes on a GPU
where there is one (``--device cpu`` does not). The trained models are those of ``scripts/compare_attacks.py``; where
these are missing they are trained first, a few minutes more. Results go to outputs/published/speed_<device>.{md,json}.
On a machine with other work, ``--threads 1`` disturbs least.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from advvid.data.loader import cores
from benchmarks import attack, evaluation, growth, loader, memory, publish, training
from benchmarks.measure import Part, Setup, load, machine

TOP = Path(__file__).resolve().parent.parent
SECTIONS: dict[str, Any] = {
    "attack": attack,
    "evaluation": evaluation,
    "training": training,
    "loader": loader,
    "memory": memory,
    "growth": growth,
}


def stored(section: str, name: str, setup: Setup) -> Path:
    """Return where a part's result is kept."""
    return setup.work / setup.device.type / f"{section}_{name}{'_quick' if setup.quick else ''}.json"


def earlier(section: str, name: str, setup: Setup) -> dict[str, Any] | None:
    """Return a part's result as an earlier run left it with the same settings and versions, or None."""
    file = stored(section, name, setup)
    found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return found if found.get("machine") == {"quick": setup.quick, **machine(setup)} else None


def measured(section: str, name: str, part: Part, setup: Setup, fresh: bool) -> dict[str, Any]:
    """Return a part's result: as an earlier run left it where settings, versions and rounds allow, else measured."""
    file, kept = stored(section, name, setup), None if fresh else earlier(section, name, setup)
    if kept is not None:
        most = kept.get("rounds")
        if most is None or (setup.most is not None and most >= setup.most):
            print(f"{section} {name}: kept from {file}", flush=True)
            return kept
    if fresh and (rounds := setup.kept(f"{section}_{name}")) is not None:
        rounds.unlink(missing_ok=True)
    print(f"{section} {name}: measuring ...", flush=True)
    began, before = time.perf_counter(), load()
    result = part()
    new = {
        "machine": {"quick": setup.quick, **machine(setup)},
        "load": [before, load()],
        "seconds": time.perf_counter() - began,
        "rounds": setup.most,
        "result": result,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".tmp")
    scratch.write_text(json.dumps(new, indent=1) + "\n")
    scratch.replace(file)
    return new


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=cores(), help="of the CPU; all cores by default")
    parser.add_argument("--quick", action="store_true", help="smallest settings, nothing is published")
    parser.add_argument("--rounds", type=int, help="at most; by default each section's own number, up to 9")
    parser.add_argument(
        "--only-publish",
        action="store_true",
        help="measure nothing, publish what earlier runs left and say what is missing",
    )
    parser.add_argument("--fresh", action="store_true", help="measure again what an earlier run measured")
    parser.add_argument("--realdata", type=Path, default=os.environ.get("ADVVID_REALDATA"), help="folder of videos")
    parser.add_argument("--work", type=Path, default=TOP / "outputs" / "benchmark", help="where parts are kept")
    parser.add_argument("--target", type=Path, default=TOP / "outputs" / "published", help="where the tables go")
    options = parser.parse_args()
    device = "cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu"
    if options.device == "cuda" and device == "cpu":
        parser.error("--device cuda was asked for but PyTorch sees no GPU: choose --device cpu")
    torch.set_num_threads(options.threads)
    setup = Setup(
        torch.device(device),
        options.threads,
        options.quick,
        options.work,
        options.work / "quick" if options.quick else options.target,
        options.realdata,
        options.rounds,
    )
    sections: dict[str, dict[str, Any]] = {}
    for name in SECTIONS:
        parts = SECTIONS[name].parts(setup)
        if options.only_publish:
            found = {key: earlier(name, key, setup) for key in parts}
            if name == "loader" and (apart := loader.published(setup.target)) is not None:
                found = {key: part or apart for key, part in found.items()}
            sections[name] = {key: part for key, part in found.items() if part is not None}
        elif name in options.sections:
            sections[name] = {key: measured(name, key, part, setup, options.fresh) for key, part in parts.items()}
            print("\n".join(SECTIONS[name].lines(publish.results(sections[name]))), flush=True)
    if len(sections) == len(SECTIONS):
        command = f"python scripts/benchmark.py --device {options.device} --threads {options.threads}"
        publish.publish(sections, SECTIONS, setup, command)


if __name__ == "__main__":
    main()

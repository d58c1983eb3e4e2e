"""(d) Clips per second of the loader, by scripts/benchmark_loader.py, which publishes a table of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import Part, Setup
from compare_attacks import TOP

LEAST, GAIN = 0.9, 1.7


def run(setup: Setup) -> dict[str, Any]:
    """Measure the loader; nothing where there are no videos."""
    if setup.realdata is None:
        return {}
    command: list[Any] = [
        sys.executable,
        "-W",
        "ignore",
        TOP / "scripts" / "benchmark_loader.py",
        "--data",
        setup.realdata,
        "--target",
        setup.target,
    ]
    command += ["--rounds", "1", "--videos", "2", "--sets", "ucf101"] if setup.quick else ["--rounds", "9"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=dict(os.environ))
    if done.returncode:
        raise RuntimeError(f"scripts/benchmark_loader.py failed: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads((setup.target / "loader_speed.json").read_text())
    return result


def published(target: Path) -> dict[str, Any] | None:
    """Return what scripts/benchmark_loader.py published by itself, where this run did not call it."""
    file = target / "loader_speed.json"
    if not file.is_file():
        return None
    result: dict[str, Any] = json.loads(file.read_text())
    busy = [round(result["machine"][f"load_{when}"], 2) for when in ("before", "after")]
    return {"machine": result["machine"], "load": busy, "seconds": result["seconds"], "rounds": None, "result": result}


def parts(setup: Setup) -> dict[str, Part]:
    """Return the measurement."""
    return {"speed": partial(run, setup)}


def lines(results: list[dict[str, Any]]) -> list[str]:
    """Return the section as Markdown."""
    text = ["## Loader", ""]
    if not results[0]:
        return [*text, "Not measured: no videos were given (`--realdata`)."]
    text += [
        "Clips of 16 frames at 112 x 112 from real files, by the clock, so that other work on the machine counts: its load was "
        f"{results[0]['machine']['load_before']:.1f} to {results[0]['machine']['load_after']:.1f} on "
        f"{results[0]['machine']['cores']} cores. Everything else stands in [loader_speed.md](loader_speed.md).",
        "",
        "| files | decoder | clips/s of the loader | loader / plain loop | two processes / one |",
        "|---|---|---:|---:|---:|",
    ]
    for name, decoders in results[0]["decoders"].items():
        for decoder, row in decoders.items():
            speed = statistics.median(row["clips_per_second"]["loader"])
            two = results[0]["workers"][name].get(decoder)
            text.append(
                f"| {name} | {decoder} | {speed:.0f} | {row['loader/plain']['median']:.2f} | "
                f"{'' if two is None else format(two['two/one']['median'], '.2f')} |"
            )
    return text


def targets(results: list[dict[str, Any]], gpu: bool) -> list[tuple[str, float, float, bool]]:
    """Return what the ratios have to reach, what they are, and whether they do."""
    rows = []
    for name, decoders in results[0].get("decoders", {}).items():
        for decoder, row in decoders.items():
            reached = row["loader/plain"]["median"]
            rows.append((f"{name}, {decoder}: loader against a plain loop", LEAST, reached, reached >= LEAST))
        for decoder, row in results[0]["workers"][name].items():
            reached = row["two/one"]["median"]
            rows.append((f"{name}, {decoder}: two loader processes against one", GAIN, reached, reached >= GAIN))
    return rows

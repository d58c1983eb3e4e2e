"""(f) What an attack costs as batch, steps and frames grow, and training as processes do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from benchmarks import rivals
from benchmarks.measure import Part, Run, Setup, interleave, middle, shown, speed_ratio, spread
from benchmarks.networks import SHAPE, TINY, answers, noise, train, untrained
from benchmarks.rivals import Search

BATCHES, STEPS, FRAMES = (1, 4, 16, 64), (1, 5, 10, 20), (4, 8, 16, 32)


def one(setup: Setup, what: str, values: Sequence[int]) -> dict[str, Any]:
    """Measure PGD and its floor at growing values of ``batch``, ``steps`` or ``frames``, all by turns."""
    name, usual = ("r3d_18", SHAPE) if setup.gpu else ("r3d_tiny", TINY)
    runs: dict[str, Run] = {}
    for value in values:
        chosen = {"batch": 4, "steps": 2, "frames": usual[1]} | {what: value}
        shape = (3, chosen["frames"], *usual[2:])
        model, clips = untrained(name, setup.device, shape), noise(chosen["batch"], setup.device, shape)
        labels, search = answers(model, clips), Search(steps=chosen["steps"])
        runs[f"ours {value}"] = partial(rivals.ours(model, search), clips, labels)
        runs[f"floor {value}"] = partial(rivals.floor(model, search), clips, labels)
    times = interleave(runs, setup.rounds(9), setup.device)
    first = values[0]
    return {
        "what": what,
        "model": name,
        "shape": list(usual),
        "values": list(values),
        "times": times,
        "seconds": {str(v): middle(times, f"ours {v}") for v in values},
        # How many times as much as the smallest value costs, from the same rounds.
        "growth": {str(v): speed_ratio(times, f"ours {first}", f"ours {v}") for v in values},
        "over_floor": {str(v): speed_ratio(times, f"floor {v}", f"ours {v}") for v in values},
    }


def processes(setup: Setup) -> dict[str, Any]:
    """Train by AT in one and in two processes of a thread each (on a GPU machine: one and all GPUs)."""
    many = torch.cuda.device_count() if setup.gpu else 2
    counts = sorted({1, many})
    length = ["dataset.limit_train=64", "schedule.batch_size=16"] if setup.quick else ["schedule.batch_size=32"]
    speeds: dict[str, list[float]] = {str(n): [] for n in counts}
    for turn in range(1 if setup.quick else setup.rounds(3)):
        for count in counts:
            folder = setup.work / "processes" / f"{count}_{turn}{'_quick' if setup.quick else ''}"
            (folder / "metrics.jsonl").unlink(missing_ok=True)
            train(
                folder,
                [
                    "mode=train",
                    "defense=at",
                    "defense.inner_steps=2",
                    "dataset=motion",
                    "model=r3d_tiny",
                    "seed=0",
                    "schedule=embedded",
                    "schedule.epochs=2",
                    "tracker=none",
                    "dataset.limit_val=8",
                    "dataset.workers=0",
                    f"runtime={'gpu' if setup.gpu else 'cpu'}",
                    f"runtime.devices={count}",
                    *length,
                ],
                setup.threads if setup.gpu else 1,
            )
            epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            speeds[str(count)].append(epochs[-1]["clips_per_s"])
    pairs = {str(n): spread([b / a for a, b in zip(speeds["1"], speeds[str(n)], strict=True)]) for n in counts}
    return {"what": "processes", "values": counts, "speeds": speeds, "gain": pairs}


def parts(setup: Setup) -> dict[str, Part]:
    """Return the measurements."""
    short = slice(None, 2) if setup.quick else slice(None)
    grown = {"batch": BATCHES, "steps": STEPS, "frames": FRAMES}
    found: dict[str, Part] = {what: partial(one, setup, what, values[short]) for what, values in grown.items()}
    return found | {"processes": partial(processes, setup)}


def lines(results: list[dict[str, Any]]) -> list[str]:
    """Return the section as Markdown."""
    rows = [row for row in results if "growth" in row]
    text = ["## Growth"]
    if rows:
        text += [
            "",
            f"PGD by {rows[0]['model']} on 4 clips of {' x '.join(map(str, rows[0]['shape'][1:]))}, 2 steps, one of the three growing.",
            "*Times the first*: cost against that of the smallest value, which linear growth would make the ratio of the values.",
            "",
            "| growing | value | s | times the first | linear | time of ours / of the floor |",
            "|---|" + "---:|" * 5,
        ]
    for row in rows:
        for value in row["values"]:
            grown, over = row["growth"][str(value)], row["over_floor"][str(value)]
            text.append(
                f"| {row['what']} | {value} | {row['seconds'][str(value)]:.3g} | {shown(grown)} | {value / row['values'][0]:.0f} | "
                f"{shown(over)} |"
            )
    for row in results:
        if "gain" in row:
            gains = ", ".join(f"{n}: {shown(gain)}" for n, gain in row["gain"].items() if n != "1")
            text += [
                "",
                f"Clips per second of AT on the embedded data in several processes against one (`runtime.devices`): {gains}.",
            ]
    return text


def targets(results: list[dict[str, Any]], gpu: bool) -> list[tuple[str, float, float, bool]]:
    """Return nothing: growth has no figure to reach."""
    return []

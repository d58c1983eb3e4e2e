"""The GPU hours that each full-scale run of the five papers would take: passes measured here, scaled to a GPU."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.networks import composed
from benchmarks.papers import NETWORKS

# A forward pass, and a pass that also gives the weights' gradients, in passes with the gradient of the input alone.
FORWARD, WEIGHTS = 0.5, 1.5
UCF_TRAIN, UCF_TEST = 9537, 3783
EPOCHS_K, EPOCHS_L = 10, 5


@dataclass(frozen=True)
class Run:
    """A run of a paper.

    Args:
        paper: its name.
        what: is run.
        inputs: clips that it sees, over all epochs.
        passes: what each costs, by network, in forward passes with the gradient of the input.
        how: the clips and passes in words; *assumed* marks what the paper does not state.
    """

    paper: str
    what: str
    inputs: int
    passes: Mapping[str, float]
    how: str


def suite_passes(suite: str) -> float:
    """Return the passes of a suite's columns without early exit: steps and trials, and a prediction each."""
    total = FORWARD  # clean
    for column in composed(f"suite={suite}").suite.values():
        if hasattr(column, "get") and column.get("_target_"):
            steps = int(column.get("steps", 0)) * int(column.get("restarts", 1))
            searched = column.get("key_frame") in ("bayesian", "brute_force")
            tried = int(column.get("trials") or 0) * int(column.get("trial_steps") or steps) if searched else 0
            total += steps + tried + FORWARD
    return total


def runs() -> list[Run]:
    """Return every full-scale run, with the settings of the papers and their code."""
    kinfu, lo, main, small = "Kinfu & Vidal", "Lo & Patel", "resnext101_16", "resnext101_40"
    seen, few, inner = UCF_TRAIN * EPOCHS_K, UCF_TRAIN * EPOCHS_L, 5
    ten = f"{UCF_TRAIN} x {EPOCHS_K} epochs (as fig. 1; the tables' number is assumed to be the same)"
    five = f"{UCF_TRAIN} x {EPOCHS_L} epochs"
    at = inner + WEIGHTS
    measured = 7 * 954 * (inner + FORWARD) / seen  # AAT: each budget on a tenth of the training list
    gan = {main: 2 * (inner + WEIGHTS), "ape_gan_16": inner + 4 * WEIGHTS}
    found = [
        Run(kinfu, "fine-tuning without defense", seen, {main: WEIGHTS}, ten),
        Run(kinfu, "AT or CAT, 5 inner steps", seen, {main: at}, f"{ten}; a row of tables 1 and 2"),
        Run(kinfu, "AAT over 7 budgets", seen, {main: at + measured}, f"{ten}; each budget measured once"),
        Run(kinfu, "GAT", seen, gan, f"{ten}, of the classifier and then of both; a second AT is assumed"),
        Run(kinfu, "suite=kinfu, one model", UCF_TEST, {main: suite_passes("kinfu")}, "test list, no early exit"),
        Run(kinfu, "suite=kinfu_types, one model", UCF_TEST, {main: suite_passes("kinfu_types")}, "test list, no early exit"),
        Run(lo, "AT, 5 inner steps", few, {small: at}, five),
        Run(lo, "TRADES", few, {small: inner + 2 * WEIGHTS}, five),
        Run(lo, "AVG over clean and 4 attacks", few, {small: 4 * inner + 5 * WEIGHTS}, five),
        Run(lo, "MAX over 4 attacks", few, {small: 4 * inner + 4 * FORWARD + WEIGHTS}, five),
        Run(lo, "MSD over 4 attacks", few, {small: inner * (1 + 4 * FORWARD) + WEIGHTS}, five),
        Run(
            lo, "MultiBN, 5 branches and their detector", few,
            {small: 4 * inner + 5 * WEIGHTS, "resnet50_40": 3 * WEIGHTS * 7 / EPOCHS_L},
            f"{five}; the detector 7 epochs on 3 kinds of clips",
        ),
        Run(lo, "suite=lo, one model", UCF_TEST, {small: suite_passes("lo")}, "test list, no early exit"),
        Run(lo, "suite=multav, one model", UCF_TEST, {small: suite_passes("multav")}, "test list, no early exit"),
    ]  # fmt: skip
    table_3 = suite_passes("deepsava")
    for name in ("i3d_40", "inception_40", "cnn_lstm_40"):
        found.append(
            Run(
                "Mu et al.", f"suite=deepsava, {NETWORKS[name].title}", 200, {name: table_3}, "200 clips, no early exit"
            )
        )
    return [
        *found,
        Run(
            "Mu et al.", "AT of I3D, 10 inner steps", UCF_TRAIN * 10, {"i3d_40": 10 + WEIGHTS},
            f"{UCF_TRAIN} x 10 epochs; the number is assumed",
        ),
        Run(
            "Choudhary et al.", "ART or A-ART", 64 * 100_000, {"features": 1 + 2 * WEIGHTS},
            "100 000 updates of 64 videos; the number is assumed",
        ),
        Run(
            "Jia et al.", "CNN + LSTM, training", 8000 * 10, {"cnn_lstm_40": WEIGHTS}, "8000 x 10 epochs; the number is assumed"
        ),
        Run("Jia et al.", "C3D, training", 8000 * 10, {"c3d_16": WEIGHTS}, "8000 x 10 epochs; the number is assumed"),
        Run(
            "Jia et al.", "sparse attack on CNN + LSTM", 1000, {"cnn_lstm_40": 100 + FORWARD},
            "500 clips for thresholds, 500 for the test; 100 steps",
        ),
        Run(
            "Jia et al.", "dense attack on C3D", 1000, {"c3d_16": 100 + FORWARD},
            "500 clips for thresholds, 500 for the test; 100 steps are assumed",
        ),
    ]  # fmt: skip


def reference_tflops(results: list[dict[str, Any]]) -> float:
    """Return what this machine gives on the reference, in 10^12 operations per second."""
    bases = [row["reference"] for row in results if row["seconds"]]
    return float(statistics.median(base["operations"] / base["seconds"] for base in bases) / 1e12)


def hours(results: list[dict[str, Any]], tflops: float) -> list[dict[str, Any]]:
    """Return every run with its operations, its hours here, and those of a GPU that gives ``tflops`` on the reference.

    Args:
        results: of ``papers.one``; for networks that were only counted, of ``papers.counted``, which are taken to be as
            efficient as the median of the others.
        tflops: 10^12 operations per second.
    """
    cost, rate = {row["network"]: row for row in results}, reference_tflops(results)
    usual = statistics.median(row["efficiency"]["median"] for row in results if row["seconds"])
    rows = []
    for run in runs():
        if not run.passes.keys() <= cost.keys():
            continue  # a quick run measures some of the networks
        work = sum(count * cost[key]["operations"] for key, count in run.passes.items())
        # Operations as the reference would have to do them to take as long.
        slowed = sum(
            count * cost[key]["operations"] / (cost[key]["efficiency"]["median"] if cost[key]["seconds"] else usual)
            for key, count in run.passes.items()
        )
        rows.append({
            "paper": run.paper, "run": run.what, "inputs": run.inputs, "passes": dict(run.passes), "how": run.how,
            "measured": all(cost[key]["seconds"] for key in run.passes), "operations": work * run.inputs,
            "days_here": run.inputs * slowed / (rate * 1e12) / 86400, "gpu_hours": run.inputs * slowed / (tflops * 1e12) / 3600,
        })  # fmt: skip
    return rows


def page(results: list[dict[str, Any]], tflops: float, gpu: bool, head: list[str]) -> list[str]:
    """Return the table of hours as Markdown."""
    base = next(row["reference"] for row in results if row["seconds"])
    rate = reference_tflops(results)
    text = [
        "# GPU hours of the papers' full-scale runs",
        "",
        "**These are estimates, not measurements.** " + (
            f"Passes were measured on the GPU named below, which gave {rate:.1f} TFLOP/s on {base['model']}."
            if gpu else
            "No GPU was at hand. The networks' passes were measured on a CPU; a network's GPU time is that of its counted "
            f"operations on a GPU that sustains **an assumed {tflops:g} TFLOP/s** on {base['model']} (`--gpu-tflops`; this CPU: "
            f"{rate:.3f}), slower or faster by the network's efficiency against {base['model']} on this CPU. Half the TFLOP/s is "
            "twice the hours; grouped convolutions such as ResNeXt's may lose more on a GPU than they do here."
        ),
        "Only passes of the networks are counted (a forward pass as half of one with the gradient of the input, with weights as one and "
        "a half), no loading, no validation, and no early exit, which makes the evaluation of weak models many times cheaper.",
        "",
        *head,
        "",
        f"| paper | run | clips | passes a clip | 10^15 operations | GPU hours{'' if gpu else ' (estimate)'} | days on this machine |",
        "|---|---|---|---|---:|---:|---:|",
    ]  # fmt: skip
    for row in hours(results, rate if gpu else tflops):
        passes = ", ".join(f"{count:.3g} of {NETWORKS[key].title}" for key, count in row["passes"].items())
        text.append(
            f"| {row['paper']} | {row['run']} | {row['inputs']}: {row['how']} | {passes} | {row['operations'] / 1e15:.3g} | "
            f"{row['gpu_hours']:.3g}{'' if row['measured'] else ' *'} | {row['days_here']:.3g} |"
        )
    if any(not row["seconds"] for row in results):
        names = ", ".join(NETWORKS[row["network"]].title for row in results if not row["seconds"])
        text += [
            "",
            f"\\* Operations counted, speed not measured in this run ({names}): taken to be as efficient as the median of the "
            "others.",
        ]
    return text

"""Train the papers' models on the embedded stand-ins of their data sets, one command each, and publish what they reach.

    python scripts/stand_in_table.py                  # about 15 minutes of one core; resumable, finished runs are kept
    python scripts/stand_in_table.py --rows digits youtube8m_mini

Epochs and widths were chosen on the validation split; the test split was scored once.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from advvid.config.instantiate import safe_instantiate
from advvid.metrics.statistics import bootstrap_mean
from readme_results import fill
from runs import carry_out

# What each row trains, and what it stands in for.
VIDEOS = "UCF101, HMDB51"
ROWS: dict[str, tuple[str, str]] = {
    "digits": ("CIFAR-10", "dataset=digits model=resnet18_2d model.width=0.25 schedule.epochs=6"),
    "youtube8m_mini": (
        "YouTube-8M",
        "dataset=youtube8m_mini model=feature_transformer model.width=0.125 attack=pgd_l2 attack.eps=0.5 "
        "schedule.epochs=10",
    ),
    "moving_digits": (
        "Moving-MNIST",
        "dataset=moving_digits dataset.size=32 model=next_frame model.width=0.25 schedule.epochs=12",
    ),
    "resnet3d_18": (VIDEOS, "dataset=motion model=resnet3d_18 model.width=0.25 schedule.epochs=20"),
    "resnext3d_50": (VIDEOS, "dataset=motion model=resnext3d_50 model.width=0.25 schedule.epochs=20"),
    "i3d": (
        VIDEOS,
        "dataset=motion_look model=i3d model.width=0.25 dataset.frames=8 dataset.stride=4 schedule.epochs=25",
    ),
    "c3d": (
        VIDEOS,
        "dataset=motion_look model=c3d model.width=0.125 model.size=32 schedule.epochs=15",
    ),
    "cnn_lstm": (VIDEOS, "dataset=motion_look model=cnn_lstm dataset.frames=8 dataset.stride=4 schedule.epochs=15"),
    "inception_v3": (
        VIDEOS,
        "dataset=motion_look model=inception_v3 model.size=75 dataset.frames=1 dataset.size=64 schedule.epochs=8 "
        "schedule.batch_size=16",
    ),
}
# Validation is watched on few clips and with one step, which halves the time of every epoch.
COMMON = ["suite=own", "attack.steps=10", "dataset.limit_val=50", "defense.inner_steps=1", "tracker=none", "seed=0"]
THREADS = ["runtime=cpu", "runtime.threads=1"]


def train(row: str, root: Path) -> Path:
    """Carry out one run, or leave it alone where it is finished; its time is added up over attempts."""
    folder = root / row
    words = [*ROWS[row][1].split(), *COMMON, *THREADS]
    began, spent = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        carry_out(folder, *words)
    finally:
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        core = now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime
        if core:  # something was computed
            attempt = {"wall": time.perf_counter() - began, "core": core}
            with (folder / "attempts.jsonl").open("a") as file:
                file.write(json.dumps(attempt) + "\n")
    return folder


def read(row: str, folder: Path) -> dict[str, Any]:
    """Return what a run reached, what a constant answer would reach, and what it took."""
    table = json.loads((folder / "robustness.json").read_text())
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    attempts = [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]
    measured = frames(folder, table) if row == "moving_digits" else classes(table, samples)
    return {
        "command": f"python -m advvid.train {ROWS[row][1]}", "further": [*COMMON, *THREADS], "stands_for": ROWS[row][0],
        "n": table["n"], "seed": table["seed"], **measured, "core_minutes": sum(a["core"] for a in attempts) / 60,
        "wall_minutes": sum(a["wall"] for a in attempts) / 60, "commit": table["commit"],
    }  # fmt: skip


def classes(table: dict[str, Any], samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Return accuracy (Hit@1 where clips have several labels) and that of the best constant answer."""
    labels = [label if isinstance(label, list) else [label] for label in (line["label"] for line in samples)]
    counts = np.bincount(np.concatenate(labels))
    several = isinstance(samples[0]["label"], list)
    own = next(name for name in reversed(table["attacks"]))
    return {
        "measure": "Hit@1" if several else "accuracy", "value": table["clean"]["acc"], "ci95": table["clean"]["ci95"],
        "constant": float(counts.max() / len(samples)), "attack": own, "attacked": table["attacks"][own]["acc"],
        "attacked_ci95": table["attacks"][own]["ci95"], "metrics": table["clean"]["metrics"],
    }  # fmt: skip


def frames(folder: Path, table: dict[str, Any]) -> dict[str, Any]:
    """Return mean squared error with a bootstrap interval over clips, and that of showing the last frame again."""
    data = safe_instantiate(OmegaConf.create({"dataset": table["config"]["dataset"]}).dataset)
    split = data.split("test")
    pairs = [split[index][:2] for index in range(len(split))]
    copying = float(np.mean([((a.float() - b.float()) / 255).square().mean().item() for a, b in pairs]))
    errors = {name: squared_errors(folder, name, split.targets.numpy() / 255) for name in ("clean", "pgd")}
    ends = {name: list(bootstrap_mean(values[:, None], np.random.default_rng(0))) for name, values in errors.items()}
    return {
        "measure": "mean squared error", "value": table["clean"]["metrics"]["mse"], "ci95": ends["clean"],
        "constant": copying, "attack": "pgd", "attacked": table["attacks"]["pgd"]["metrics"]["mse"],
        "attacked_ci95": ends["pgd"], "metrics": table["clean"]["metrics"],
    }  # fmt: skip


def squared_errors(folder: Path, column: str, targets: np.ndarray) -> np.ndarray:
    """Return the mean squared error of each clip from the outputs that the evaluation kept."""
    outs = [np.load(path)["out"] for path in sorted(next((folder / "cells").glob(f"{column}-*")).glob("*.npz"))]
    errors: np.ndarray = ((np.concatenate(outs) - targets) ** 2).reshape(len(targets), -1).mean(axis=1)
    return errors


def publish(results: dict[str, dict[str, Any]], target: Path) -> None:
    """Write the table as JSON and Markdown, and into the README."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "stand_ins.json").write_text(json.dumps(results, indent=1) + "\n")
    lines = [
        "Test split, seed 0; percent right, or mean squared error in thousandths, with 95% intervals (Wilson; bootstrap over",
        "clips). *constant*: the best constant answer; for frames, showing the last one again. *attacked*: under the run's PGD",
        "at 8/255 in 10 steps (features: l2 0.5), no defense. Minutes are of one core, training and scoring together. Each",
        f"command is followed by `{' '.join([*COMMON, *THREADS])}`.",
        "Made by `python scripts/stand_in_table.py`.",
        "",
        "| stands in for | `python -m advvid.train` | n | measure | reached | constant | attacked | minutes |",
        "|---|---|---:|---|---:|---:|---:|---:|",
    ]
    for result in results.values():
        scale = 1000 if result["measure"] == "mean squared error" else 100
        told = [
            f"{scale * result[key]:.1f} [{', '.join(f'{scale * end:.1f}' for end in result[ends])}]"
            for key, ends in (("value", "ci95"), ("attacked", "attacked_ci95"))
        ]
        lines.append(
            f"| {result['stands_for']} | `{result['command'].removeprefix('python -m advvid.train ')}` | {result['n']} | "
            f"{result['measure']} | {told[0]} | {scale * result['constant']:.1f} | {told[1]} | {result['core_minutes']:.1f} |"
        )
    table = "\n".join(lines) + "\n"
    (target / "stand_ins.md").write_text(table)
    fill("stand_ins", table, target)


def main() -> None:
    """Run what is missing and publish what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)}"
    )
    parser.add_argument("--root", type=Path, default=Path("outputs/stand_ins"), help="where the runs are kept")
    parser.add_argument("--target", type=Path, default=Path("outputs/published"), help="where the table goes")
    options = parser.parse_args()
    for row in options.rows:
        folder = train(row, options.root)
        result = read(row, folder)
        print(
            f"{row}: {result['measure']} {result['value']:.4g} (constant {result['constant']:.4g}), under attack "
            f"{result['attacked']:.4g}, {result['core_minutes']:.1f} minutes",
            flush=True,
        )
    finished = [row for row in ROWS if (options.root / row / "robustness.json").is_file()]
    publish({row: read(row, options.root / row) for row in finished}, options.target)


if __name__ == "__main__":
    main()

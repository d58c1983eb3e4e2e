"""Train and score every defense of the main table on the embedded data, three seeds each, and publish the table.

    python scripts/embedded_table.py --jobs 2        # about 40 minutes on 2 cores; resumable, finished runs are kept
    python scripts/embedded_table.py --rows none cat_12 --seeds 0

The data is a draw (``dataset.seed=1``) that no choice was made on; choices were made on the validation split of draw 0.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from readme_results import fill
from runs import carry_out

ROWS: dict[str, list[str]] = {
    "none": ["defense=none"],
    "at_8": ["defense=at", "attack.eps=8/255"],
    "cat_12": ["defense=cat", "defense.eps_to=12/255"],
    "cat_8": ["defense=cat", "defense.eps_to=8/255"],
    "cat_down_12": ["defense=cat_down"],
    "aat_12": ["defense=aat"],
}
TITLES = {
    "none": "no defense", "at_8": "AT, eps 8", "cat_12": "CAT, eps 0 to 12", "cat_8": "CAT, eps 0 to 8",
    "cat_down_12": "CAT, eps 12 to 0", "aat_12": "AAT, eps {0, 2, ..., 12}",
}  # fmt: skip
COMMON = [
    "suite=kinfu", "+attack@suite.frame_border_20=frame_border", "suite.frame_border_20.ratio=0.2", "+attack@suite.fgsm_8=fgsm",
    "dataset=motion", "dataset.seed=1", "dataset.limit_val=50", "tracker=none", "runtime=cpu",
]  # fmt: skip


def train(row: str, seed: int, root: Path, threads: int) -> Path:
    """Carry out one run, or leave it alone where it is finished."""
    folder = root / f"{row}-{seed}"
    carry_out(folder, *ROWS[row], *COMMON, f"seed={seed}", extra=[f"runtime.threads={threads}"])
    return folder


def read(folder: Path) -> dict[str, Any]:
    """Return a run's accuracies in percent, and what its training cost."""
    table = json.loads((folder / "robustness.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    scores = {
        "clean": table["clean"],
        **table["attacks"],
        "mean": table["mean"],
        "union": table["union"],
        **table["controls"],
    }
    return {
        "acc": {name: 100 * score["acc"] for name, score in scores.items()},
        "ci95": {name: [100 * end for end in score["ci95"]] for name, score in scores.items()},
        "passes": lines[-1]["total_passes"], "n": table["n"], "commit": table["commit"],
    }  # fmt: skip


def publish(results: dict[str, dict[int, dict[str, Any]]], target: Path) -> None:
    """Write the table as JSON and Markdown."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "embedded_table.json").write_text(json.dumps(results, indent=1) + "\n")
    first = next(iter(next(iter(results.values())).values()))
    names = list(first["acc"])
    seeds = sorted({seed for runs in results.values() for seed in runs})
    lines = [
        f"Embedded motion data, draw 1, n = {first['n']} test clips, seeds {', '.join(map(str, seeds))}: mean over the seeds in",
        "percent, lowest to highest seed in brackets. One seed's 95% interval is about +-7 points at 50% (see",
        "`embedded_table.json` for each). Passes: forward-backward passes of a clip over the whole training, in thousands.",
        "Made by `python scripts/embedded_table.py`.",
        "",
        "| training | " + " | ".join(names) + " | passes |",
        "|---|" + "---:|" * (len(names) + 1),
    ]
    for row, runs in results.items():
        cells = []
        for name in names:
            values = [run["acc"][name] for run in runs.values()]
            cells.append(f"{statistics.mean(values):.1f} [{min(values):.1f}, {max(values):.1f}]")
        passes = statistics.mean(run["passes"] for run in runs.values()) / 1000
        lines.append(f"| {TITLES[row]} | " + " | ".join(cells) + f" | {passes:.0f} |")
    table = "\n".join(lines) + "\n"
    (target / "embedded_table.md").write_text(table)
    fill("embedded_table", table, target)


def main() -> None:
    """Run what is missing and publish what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)}"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--root", type=Path, default=Path("outputs/embedded_table"), help="where the runs are kept")
    parser.add_argument("--target", type=Path, default=Path("outputs/published"), help="where the table goes")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, which share the cores")
    options = parser.parse_args()
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    # Seed by seed, so that an interrupted table is complete for the seeds that it has.
    jobs = [(row, seed) for seed in options.seeds for row in options.rows]
    results: dict[str, dict[int, dict[str, Any]]] = {row: {} for row in options.rows}
    with ThreadPoolExecutor(options.jobs) as pool:
        folders = pool.map(lambda job: train(*job, options.root, threads), jobs)
        for (row, seed), folder in zip(jobs, folders, strict=True):
            results[row][seed] = read(folder)
            print(
                f"{TITLES[row]}, seed {seed}: "
                + ", ".join(f"{k} {v:.1f}" for k, v in results[row][seed]["acc"].items()),
                flush=True,
            )
            if all(results.values()):
                publish(results, options.target)


if __name__ == "__main__":
    main()

"""Train every defense on the embedded data, score all by one suite, and publish one table.

    python scripts/defense_table.py --jobs 2      # hours; resumable, finished runs are kept
    python scripts/defense_table.py --rows none at --seeds 0

Suite ``defenses`` on 100 test clips, and on 50 of them AutoAttack at demo scale at 8/255. The data is a draw
(``dataset.seed=1``) that no choice was made on. As in the papers, which start from pretrained networks, every defense starts
from the benign model of its seed (row ``none``) and trains for the same number of epochs with its own defaults, so that costs
differ: passes are in the table. From scratch, AT at 8/255 stays at chance for the first 25 epochs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from defense_notes import notes
from runs import carry_out

PGD = ("pgd_20_4", "pgd_20_8", "pgd_20_12")
LO = ("pgd_4", "roa_30", "framing_10", "salt_and_pepper_100")
OWN = "own"
# APE-GAN against the gray box that it is scored by, with hardly any weight on the discriminator.
LIGHT = ["defense=ape_gan", "defense.classifier=model", "defense.crafted_on=classifier", "defense.gamma_gan=0.003",
         "schedule.optimizer.lr=1e-3"]  # fmt: skip
# Row: what its training is told, and the column of the attack that it trains against; the mean for several.
ROWS: dict[str, tuple[list[str], str]] = {
    "none": (["defense=none"], ""),
    "at": (["defense=at"], "pgd_20_8"),
    "cat": (["defense=cat"], "pgd_20_8"),
    "trades": (["defense=trades"], "pgd_20_8"),
    "avg": (["defense=avg"], "mean"),
    "multibn": (["defense=multibn"], "mean"),
    "at_4": (["defense=at", "attack.eps=4/255"], "pgd_4"),
    "at_12": (["defense=at", "attack.eps=12/255"], "pgd_20_12"),
    "cat_down": (["defense=cat_down"], "pgd_20_8"),
    "aat": (["defense=aat"], "pgd_20_8"),
    "aat_types": (["defense=aat_types"], "pgd_20_8"),
    "at_roa": (["defense=at", "attack=roa"], "roa_30"),
    "at_framing": (["defense=at", "attack=frame_border_w10"], "framing_10"),
    "at_spa": (["defense=at", "attack=salt_and_pepper"], "salt_and_pepper_100"),
    "max": (["defense=max"], "mean"),
    "msd": (["defense=msd"], "mean"),
    "multibn_manual": (["defense=multibn_manual"], "mean"),
    "mart": (["defense=mart"], "pgd_20_8"),
    "awp": (["defense=awp"], "pgd_20_8"),
    "awp_trades": (["defense=awp_trades"], "pgd_20_8"),
    "free_at": (["defense=free_at"], "pgd_20_8"),
    "fgsm_rs": (["defense=fgsm_rs"], "pgd_20_8"),
    "n_fgsm": (["defense=n_fgsm"], "pgd_20_8"),
    "oudefend": (["defense=oudefend"], "pgd_20_8"),
    "feature_denoising_2d": (["defense=feature_denoising_2d"], "pgd_20_8"),
    "feature_denoising_3d": (["defense=feature_denoising_3d"], "pgd_20_8"),
    "ape_gan": (["defense=ape_gan", "defense.classifier=model"], "pgd_20_8"),
    "frozen_gan_at": (["defense=frozen_gan_at", "defense.ape_gan.classifier=model"], "pgd_20_8"),
    "gat": (["defense=gat"], "pgd_20_8"),
    "ape_gan_light": (LIGHT, "pgd_20_8@gray_box"),
    "msd_without_roa": (["defense=msd", "~defense.attacks.roa"], "mean"),
    "combined_at": (["defense=combined_at"], OWN),
    "injection": (["defense=injection", "defense.classifier=model", "defense.start=classifier"], OWN),
}
# What trains against an attack that is no column is scored by it besides, and so is row none.
ATTACKS = {
    "combined_at": ["attack=combined_pgd"],
    "injection": ["attack=deep_sava", "attack.key_frame=first"],
}
SEEDS = dict.fromkeys(("none", "at", "cat", "trades", "avg", "multibn"), 3)
AUTO = "auto_attack_small_8"
COMMON = [
    "dataset=motion",
    "dataset.seed=1",
    "dataset.limit_val=50",
    "tracker=none",
    "runtime=cpu",
    "evaluation.pictures=0",
]


def finished(row: str, seed: int, options: argparse.Namespace) -> Path | None:
    """Carry out a row's runs, or leave alone what is finished; None, with a line that says so, where one failed."""
    folder: Path = options.root / f"{row}-{seed}"
    words = [
        *ROWS[row][0],
        *COMMON,
        *_start(row, seed, options),
        "suite=defenses",
        "dataset.limit_test=100",
        f"seed={seed}",
    ]
    scoring = ["mode=eval", f"checkpoint={folder}", "tracker=none", "evaluation.pictures=0"]
    auto = [
        *scoring,
        "suite=autoattack_small",
        "~suite.pgd_8",
        "dataset.limit_test=50",
        "evaluation.accesses=strongest",
    ]
    threads = [f"runtime.threads={max(1, (os.cpu_count() or 1) // options.jobs)}"]
    try:
        carry_out(folder, *words, extra=threads)
        if not seed:
            carry_out(folder / "auto", *auto, extra=threads)
            for name in ATTACKS if row == "none" else {row} & ATTACKS.keys():
                carry_out(folder / f"{OWN}_{name}", *scoring, f"suite={OWN}", *ATTACKS[name], extra=threads)
    except SystemExit as failed:
        print(failed, flush=True)
        return None
    return folder


def _start(row: str, seed: int, options: argparse.Namespace) -> list[str]:
    if row == "none":
        return ["schedule.epochs=40"]
    benign = options.root / f"none-{seed}" / "checkpoints" / "last.pt"
    return [f"model.checkpoint={benign}", f"schedule.epochs={options.epochs}"]


def read(folder: Path) -> dict[str, Any]:
    """Return a run's scores as fractions with intervals, its cost, and the checks that were raised."""
    table = json.loads((folder / "robustness.json").read_text())
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    scores = {
        "clean": table["clean"],
        **table["attacks"],
        "mean": table["mean"],
        "union": table["union"],
        **table["extra"],
    }
    auto = folder / "auto" / "robustness.json"
    if auto.is_file():
        scores[AUTO] = json.loads(auto.read_text())["attacks"][AUTO]
    for own in sorted(folder.glob(f"{OWN}_*/robustness.json")):
        (scores[own.parent.name],) = json.loads(own.read_text())["attacks"].values()
    return {
        "acc": {name: score["acc"] for name, score in scores.items()},
        "ci95": {name: score["ci95"] for name, score in scores.items()},
        "passes": last["total_passes"], "n": table["n"], "commit": table["commit"],
        "raised": [check["name"] for check in table["checks"] if check.get("raised")],
    }  # fmt: skip


def publish(folders: dict[str, dict[int, Path]], epochs: int, target: Path) -> None:
    """Write the table and its seeds as JSON and Markdown."""
    results = {row: {seed: read(folder) for seed, folder in runs.items()} for row, runs in folders.items()}
    target.mkdir(parents=True, exist_ok=True)
    (target / "defenses.json").write_text(json.dumps({"rows": results}, indent=1) + "\n")
    columns = ["clean", *LO, *PGD, "mean", "union", AUTO]
    n = next(iter(next(iter(results.values())).values()))["n"]
    lines = [
        f"Embedded motion data, draw 1, r3d_tiny, {epochs} epochs from the benign model; n = {n} test clips, {AUTO} on 50 of",
        "them with seed 0. Percent right, 95% interval of seed 0 in brackets; rows with several seeds: mean over them, lowest to",
        "highest seed in brackets. Mean and union are over the columns to their left. Passes: forward-backward passes of a clip over",
        "the whole training, in thousands.",
        "Made by `python scripts/defense_table.py`.", "",
        "| training | seeds | " + " | ".join(columns) + " | passes |", "|---|---|" + "---:|" * (len(columns) + 1),
    ]  # fmt: skip
    for row, runs in results.items():
        passes = statistics.mean(run["passes"] for run in runs.values()) / 1000
        lines.append(
            f"| {row} | {len(runs)} | " + " | ".join(_cell(runs, column) for column in columns) + f" | {passes:.0f} |"
        )
    missing = [row for row in ROWS if len(results.get(row, {})) < SEEDS.get(row, 1)]
    if missing:
        lines += ["", f"Not run yet, in whole or for all seeds: {', '.join(missing)}."]
    lines += ["", *_not_better(results), *notes(results), *_own(results), *_accesses(results)]
    (target / "defenses.md").write_text("\n".join(lines) + "\n")


def _cell(runs: dict[int, dict[str, Any]], column: str) -> str:
    values = [100 * run["acc"][column] for run in runs.values() if column in run["acc"]]
    if not values:
        return ""
    low, high = (
        (min(values), max(values))
        if len(values) > 1
        else (100 * end for end in next(iter(runs.values()))["ci95"][column])
    )
    return f"{statistics.mean(values):.1f} [{low:.1f}, {high:.1f}]"


def _not_better(results: dict[str, dict[int, dict[str, Any]]]) -> list[str]:
    """Name the defenses that do not beat plain training on what they train against."""
    if "none" not in results:
        return []
    weak = []
    for row, column in ((row, ROWS[row][1]) for row in results if row != "none"):
        name = f"{OWN}_{row}" if column == OWN else column
        own, none = (
            statistics.mean(run["acc"][n] for run in results[r].values() if n in run["acc"])
            for r, n in ((row, name), ("none", name.split("@")[0]))
        )
        if own <= none:
            weak.append(f"{row} ({column})")
    return [f"Not above no defense on what they train against: {', '.join(weak) or 'none of them'}.", ""]


def _own(results: dict[str, dict[int, dict[str, Any]]]) -> list[str]:
    """Show what holds against its own attack where that is no column."""
    rows = [
        f"| {row} | `{' '.join(words)}` | {_cell(results['none'], f'{OWN}_{row}')} | {_cell(results[row], f'{OWN}_{row}')} |"
        for row, words in ATTACKS.items()
        if row in results and "none" in results
    ]
    heads = [
        "Attacks that are no column, seed 0:",
        "",
        "| training | its attack | none | this row |",
        "|---|---|---:|---:|",
    ]
    return [*heads, *rows, ""] if rows else []


def _accesses(results: dict[str, dict[int, dict[str, Any]]]) -> list[str]:
    """Lay what an attacker with less access reaches beside the white box."""
    lines = []
    for row, runs in results.items():
        first = next(iter(runs.values()))
        for name in first["acc"]:
            if "@" in name and name.split("@")[0] in PGD:
                column, access = name.split("@")
                lines.append(f"| {row} | {column} | {access} | {_cell(runs, name)} | {_cell(runs, column)} |")
    return (
        [
            "Attackers who know less:",
            "",
            "| training | column | access | accuracy | white box |",
            "|---|---|---|---:|---:|",
            *lines,
            "",
        ]
        if lines
        else []
    )


def main() -> None:
    """Run what is missing and publish what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)}"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="1 and 2 for some rows only")
    parser.add_argument("--epochs", type=int, default=20, help="of every row but none")
    parser.add_argument("--root", type=Path, default=Path("outputs/defenses"), help="where the runs are kept")
    parser.add_argument("--target", type=Path, default=Path("outputs/published"), help="where the table goes")
    parser.add_argument("--publish-only", action="store_true", help="make the table of the runs that are finished")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, which share the cores")
    options = parser.parse_args()
    done: dict[str, dict[int, Path]] = {}
    if options.publish_only:
        for row in ROWS:
            folders = {seed: options.root / f"{row}-{seed}" for seed in options.seeds}
            found = {seed: folder for seed, folder in folders.items() if (folder / "robustness.json").is_file()}
            if found:
                done[row] = found
        publish(done, options.epochs, options.target)
        return
    rows = list(dict.fromkeys(["none", *options.rows]))
    jobs = [(row, seed) for at, seed in enumerate(options.seeds) for row in rows if at < SEEDS.get(row, 1)]
    with ThreadPoolExecutor(options.jobs) as pool:
        for stage in (True, False):  # every row starts from the benign model of its seed
            batch = [job for job in jobs if (job[0] == "none") is stage]
            for (row, seed), folder in zip(batch, pool.map(lambda job: finished(*job, options), batch), strict=True):
                if folder is not None:
                    done.setdefault(row, {})[seed] = folder
                    scores = ", ".join(f"{name} {100 * value:.0f}" for name, value in read(folder)["acc"].items())
                    print(f"{row}, seed {seed}: {scores}", flush=True)
                    publish(done, options.epochs, options.target)


if __name__ == "__main__":
    main()

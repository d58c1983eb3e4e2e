"""Carry out tables 1 to 4 and figures 2 and 4 of Jia et al. at small scale.

    python scripts/jia_tables.py         # about 30 minutes of one core; resumable, finished runs are kept

Small networks on ``motion_look`` (16 frames of 32 x 32, draw 1) stand for the paper's on UCF101: CNN + LSTM with the small
backbone, and C3D with an eighth of the channels. The sparse attack is that of Wei et al. with their mask scaled from 40
frames to 16, the dense one PGD, or the generator of Li et al. with ``--dense universal``. Thresholds are chosen on
validation clips, everything is scored on test clips. For C3D the detector reads the CNN + LSTM's answers, as in the paper.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from advvid.analyses.routing import NONE, SPATIAL, TEMPORAL, TITLES
from runs import carry_out
from small_comdefend import networks

LSTM, C3D = "cnn_lstm", "c3d"
DATA = ["dataset=motion_look", "dataset.seed=1", "dataset.limit_val=20"]
MODELS = {
    LSTM: ("CNN + LSTM, small backbone", ["model=cnn_lstm"]),
    C3D: ("C3D, width 1/8", ["model=c3d", "model.width=0.125", "model.size=32", "model.net.dropout=0.1"]),
}
SPARSE = [
    "attack@analysis.sparse=sparse", "analysis.sparse.key_frame=given", "analysis.sparse.given=[0,4,5,8,13]",
    "analysis.sparse.steps=30",
]  # fmt: skip
DENSE = {
    "pgd": ["attack@analysis.dense=pgd", "analysis.dense.eps=10/255", "analysis.dense.steps=10"],
    "universal": ["attack@analysis.dense=universal", "analysis.dense.steps=100"],
}


def kept(folder: Path, words: list[str], result: str) -> dict[str, Any]:
    """Carry out a run unless it was, and return its command and what ``result`` holds."""
    command = carry_out(folder, *words, "tracker=none", "runtime=cpu", "runtime.threads=1")
    file = folder / result
    return {"command": command, **(json.loads(file.read_text()) if file.suffix == ".json" else {})}


def train(model: str, options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Train a model where it is missing."""
    words = ["mode=train", *DATA, *MODELS[model][1], f"schedule.epochs={options.epochs}", f"seed={options.seed}"]
    found[f"train_{model}"] = kept(options.root / model, words, "checkpoints/last.pt")


def scored(options: argparse.Namespace) -> dict[str, Any]:
    """Train, detect and route; return the results by their names."""
    root: Path = options.root
    found: dict[str, Any] = {}
    clips = [f"dataset.limit_test={options.clips}", f"dataset.limit_val={options.clips}"]
    on = {model: ["mode=eval", f"checkpoint={root / model}", *clips] for model in MODELS}
    train(LSTM, options, found)
    known = [*on[LSTM], "analysis=detection", *SPARSE, *DENSE["pgd"], "analysis.weights=[0,1,10]"]
    found["adaptive"] = kept(root / "adaptive", known, "analysis/detection.json")
    # The paper's dense attack may be another one than that which can follow the detector's gradient.
    dense, place = DENSE[options.dense], root / ("adaptive" if options.dense == "pgd" else "detection")
    words = (
        known if options.dense == "pgd" else [*on[LSTM], "analysis=detection", *SPARSE, *dense, "analysis.weights=[]"]
    )
    found["detection"] = kept(place, words, "analysis/detection.json")
    train(C3D, options, found)
    gammas = [found["detection"][name]["chosen"] for name in ("gamma_1", "gamma_2")]
    thresholds = [f"analysis.gamma_1={gammas[0]}", f"analysis.gamma_2={max(gammas)}"]
    for model in MODELS:
        other = [] if model == LSTM else [f"analysis.network={root / LSTM}"]
        defenses = [f"purifier@analysis.temporal={options.temporal}", f"purifier@analysis.spatial={options.spatial}"]
        if options.spatial == "comdefend":
            defenses.append(f"analysis.spatial.checkpoint={networks()}")
        found[f"routing_{model}"] = kept(
            root / f"routing-{model}",
            [*on[model], "analysis=routing", *SPARSE, *dense, *thresholds, *defenses, *options.settings, *other],
            "analysis/routing.json",
        )
    return found


def document(found: dict[str, Any], options: argparse.Namespace) -> str:
    """Return everything as Markdown."""
    detection, lines = found["detection"], []
    for number, name in (("1", "gamma_1"), ("2", "gamma_2")):
        part, sizes = detection[name], detection["n"]
        area = part["roc"]["auc"]
        lines += [
            f"**Table {number}: {name}** on {_counts(sizes['calibration'])} validation clips; chosen "
            f"{part['chosen']:g}; on {_counts(sizes['test'])} test "
            f"clips F1 {part['test']['f1']:.2f}, area under the ROC curve {'-' if area is None else f'{area:.3f}'}", "",
            "| threshold | precision | recall | F1 |", "|---:|---:|---:|---:|",
            *(f"| {c['threshold']:g} | {c['precision']:.2f} | {c['recall']:.2f} | {c['f1']:.2f} |" for c in part["calibration"]), "",
        ]  # fmt: skip
    lines += [
        "**Table 3** (percent right of all clips, 95% interval)", "",
        "| network | clips | no defense | spatial | temporal |", "|---|---|---:|---:|---:|",
    ]  # fmt: skip
    for model, (title, _) in MODELS.items():
        accuracy = found[f"routing_{model}"]["accuracy"]
        for kind, row in accuracy.items():
            lines.append(
                f"| {title} | {kind} | " + " | ".join(_cell(row[name]) for name in (NONE, SPATIAL, TEMPORAL)) + " |"
            )
    lines += [
        "",
        "**Table 4** (percent right of the mixed set, clean, sparse and dense clips in equal parts; attacked ones that fool the model)",
        "",
    ]
    lines += ["| network | " + " | ".join(TITLES.values()) + " |", "|---|" + "---:|" * len(TITLES)]
    for model, (title, _) in MODELS.items():
        mixed = found[f"routing_{model}"]["mixed"]
        values = [f"{100 * mixed['accuracy'][name]:.1f}" if mixed["accuracy"] else "-" for name in TITLES]
        lines.append(f"| {title} ({_counts(mixed['n'])}) | " + " | ".join(values) + " |")
    rows = found["adaptive"]["adaptive"]
    lines += ["", "**An adversary who knows the detector** (PGD of 10/255 on CNN + LSTM with the index in its loss)", "",
              "| lambda | fools, % | fools undetected, % | area under the ROC curve |", "|---:|---:|---:|---:|"]  # fmt: skip
    lines += [
        f"| {r['weight']:g} | {100 * (r['fooling_rate'] or 0):.0f} | {100 * (r['undetected_rate'] or 0):.0f} | "
        + ("-" if r["auc"] is None else f"{r['auc']:.3f}") + " |"
        for r in rows
    ]  # fmt: skip
    lines += [
        "", f"Small widths, embedded motion_look data, draw 1, seed {options.seed}; dense: {options.dense}, temporal:",
        f"{options.temporal}, spatial: {options.spatial}. Figures 2 and 4: `jia_figure_2.png`, `jia_figure_4.png`.",
        f"Made by `python scripts/jia_tables.py --dense {options.dense} --temporal {options.temporal} --spatial {options.spatial}`.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _counts(sizes: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sizes.items())


def _cell(score: dict[str, Any]) -> str:
    low, high = (100 * end for end in score["ci95"])
    return f"{100 * score['acc']:.1f} [{low:.1f}, {high:.1f}]"


def main() -> None:
    """Run what is missing and publish what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=50, help="validation clips, and as many test clips")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--dense", choices=DENSE, default="pgd", help="universal: the paper's generator, half an hour more"
    )
    parser.add_argument("--temporal", default="temporal_defense", help="purifier against sparse attacks")
    parser.add_argument("--spatial", default="comdefend", help="purifier against dense attacks")
    parser.add_argument("--settings", nargs="*", default=[], metavar="OPTION=VALUE", help="of the defenses")
    parser.add_argument("--root", type=Path, default=Path("outputs/jia"), help="where the runs are kept")
    parser.add_argument("--target", type=Path, default=Path("outputs/published"), help="where the tables go")
    options = parser.parse_args()
    found = scored(options)
    options.target.mkdir(parents=True, exist_ok=True)
    runs = {name: {k: v for k, v in result.items() if k != "config"} for name, result in found.items()}
    (options.target / "jia_tables.json").write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    (options.target / "jia_tables.md").write_text(document(found, options))
    place = "adaptive" if options.dense == "pgd" else "detection"
    for number, name in ((2, "index"), (4, "roc")):
        shutil.copy(
            options.root / place / "analysis" / f"detection_{name}.png",
            options.target / f"jia_figure_{number}.png",
        )
    print(document(found, options))


if __name__ == "__main__":
    main()

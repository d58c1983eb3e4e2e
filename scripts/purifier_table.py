"""Score every purifier against attackers who do not see it and such who do, without and with adversarial training.

    python scripts/purifier_table.py               # resumable, finished rows are kept
    python scripts/purifier_table.py --models benign --rows jpeg gaussian_blur

The rows are the options of ``conf/purifier``. All have the same clips and the same attacks: of a random purifier the
adaptive attacks average over ``--samples`` draws, and the scoring's own draw is not among them.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from advvid.config.catalogue import option_files, settings
from advvid.config.instantiate import safe_instantiate
from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir
from advvid.experiment.run import run
from advvid.experiment.saved import adopt, with_saved_choices
from advvid.metrics.statistics import wilson
from compare_attacks import train
from small_comdefend import FILE, networks

TOP = Path(__file__).resolve().parent.parent
# The models of scripts/compare_attacks.py, taken from there where they exist.
# The budget of PGD is one that leaves no clip right without a purifier, and not far above.
MODELS = {"benign": ("no defense", "none", "4/255"), "at": ("AT, eps 8/255", "at", "8/255")}
BARE = "none"
ATTACKS = {"pgd": "PGD", "sparse": "sparse, 1 of 8 frames"}
# For frames of 32 x 32 and little time: a smaller search, and ComDefend without the noise that it may add, one network pass
# per gradient in place of several.
LONG = "suite.pgd.steps=60"
SETTINGS = {
    "non_local_means": ["purifier.non_local_means.search=7", "purifier.non_local_means.patch=3", LONG],
    "comdefend": [f"purifier.comdefend.checkpoint={FILE}", "purifier.comdefend.noise=0", "suite.pgd.steps=40"],
    "video_compression": [LONG],
    # After 20 iterations these were restored to 89%, non_local_means to 82%.
    "bilateral": [LONG],
    "jpeg": [LONG],
    "median_filter": [LONG],
}
# What is known of rows that fall short; figures are of validation clips, on the benign model with PGD of 4/255.
MEASURED = {
    "comdefend": "the gradient is that of its own networks, straight through the rounding to bits, which small changes seldom flip; on 25 "
    "validation clips, 17 of them right, 20 iterations of PGD leave 4, with the identity's gradient 11",
    "temporal_defense": "the gradient holds the places fixed that patches come from, which a large change moves; on 25 validation clips "
    "20 iterations of PGD leave 2 right, with the identity's gradient 13",
    "video_compression": "the codec rounds away most of a change of this size: less than half of what the attack adds arrives, of its "
    "colour next to nothing. Of 30 validation clips 60 iterations of PGD leave 12 right, 100 leave 11, 60 of APGD 15, 60 by the identity "
    "19; 400 queries of Square leave 20 of 20",
}
# What the attack without purifier reaches has to be reached again to this share, or the note says why it is not.
ENOUGH = 0.9


def names() -> list[str]:
    """Return the rows: no purifier, and every option."""
    return [BARE, *option_files("purifier")]


def words(row: str, model: str, options: argparse.Namespace) -> list[str]:
    """Return what the command line of a row says."""
    return [
        "mode=eval", f"checkpoint={options.trained / model}", f"purifier=[{'' if row == BARE else row}]", "suite=purifiers", "tracker=none",
        "runtime=cpu", f"runtime.threads={options.threads}", f"dataset.limit_test={options.clips}", "evaluation.pictures=0",
        f"evaluation.eot_samples={options.samples}", "name=purifiers",
        f"suite.pgd.eps={MODELS[model][2]}", *(options.settings or SETTINGS).get(row, []),
    ]  # fmt: skip


def composed(overrides: list[str]) -> tuple[DictConfig, dict[str, Any]]:
    """Return the configuration of a command line, with the saved run's parts, as a process of its own would have it."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=with_saved_choices(overrides), return_hydra_config=True)
    choices = dict(OmegaConf.to_container(cfg.hydra.runtime.choices))  # type: ignore[arg-type]
    with open_dict(cfg):
        del cfg["hydra"]
    return adopt(cfg, {str(k): v for k, v in choices.items()}, overrides)


def option(row: str) -> Any:
    """Return what a row's file in conf/purifier says."""
    return OmegaConf.to_container(settings(option_files("purifier")[row])) if row != BARE else {}


def score(row: str, model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Carry out a row, or read it where it is finished."""
    folder: Path = options.root / f"{model}-{row}"
    overrides = words(row, model, options)
    note, kept = folder / "command.json", folder / "row.json"
    # A row is of one option of conf/purifier as well, whose defaults may change under the same command line.
    wanted = {
        "command": overrides,
        "option": "" if row == BARE else (conf_dir() / "purifier" / f"{row}.yaml").read_text(),
    }
    done = note.is_file() and json.loads(note.read_text()) == wanted
    if done and kept.is_file():
        return dict(json.loads(kept.read_text()))
    cfg, choices = composed(overrides)
    made = safe_instantiate(cfg.purifier[row]) if row != BARE else None
    if not done:
        kept.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        run(cfg, folder, choices)
        note.write_text(json.dumps(wanted))
    table = json.loads((folder / "robustness.json").read_text())
    found = {
        "differentiable": None if made is None else made.differentiable, "random": None if made is None else made.random,
        "settings": "" if made is None else made.settings, "n": table["n"], "commit": table["commit"],
        "command": " ".join(["python", "-m", "advvid.train", *overrides]).replace(f"{TOP}/", ""),
        "scores": {k: {"acc": v["acc"], "ci95": v["ci95"]} for k, v in scores(table).items()},
        "raised": [check["message"] for check in table["checks"] if check["raised"]],
    }  # fmt: skip
    kept.write_text(json.dumps(found))
    return found


def scores(table: dict[str, Any]) -> dict[str, Any]:
    """Return a run's accuracies by column."""
    return {"clean": table["clean"], **table["attacks"], **table["extra"]}


def fooled(row: dict[str, Any], column: str) -> float:
    """Return the share of clips that an attack takes from those that are right on clean."""
    clean = row["scores"]["clean"]["acc"]
    return (clean - row["scores"][column]["acc"]) / clean if clean else 0.0


def restored(row: dict[str, Any], bare: dict[str, Any], attack: str) -> float | None:
    """Return how much of an attack's effect without purifier the adaptive one has; None where it had none."""
    without = fooled(bare, attack)
    return fooled(row, attack) / without if without else None


def interval(row: dict[str, Any], bare: dict[str, Any], attack: str) -> tuple[float, float]:
    """Return the 95% interval of what is restored, by the clips that are right behind the purifier; the bare share is taken as it is."""
    clean, left = (round(row["scores"][name]["acc"] * row["n"]) for name in ("clean", attack))
    without = fooled(bare, attack)
    low, high = wilson(clean - left, clean)
    return low / without, high / without


def reason(name: str, row: dict[str, Any]) -> str:
    """Say what stands between the adaptive attack and the effect that it has without the purifier."""
    if name in MEASURED:
        return MEASURED[name]
    if row["random"]:
        return "the draw that counts is not among those attacked, and the attack goes on the mean of few draws"
    if not row["differentiable"]:
        return "the gradient is a stand-in's (BPDA), and steps smaller than a level are rounded away"
    return "the purifier makes any change of this size smaller: the budget buys less, the gradient is exact"


def publish(results: dict[str, dict[str, dict[str, Any]]], options: argparse.Namespace) -> None:
    """Write the table as JSON and Markdown."""
    target: Path = options.target
    target.mkdir(parents=True, exist_ok=True)
    lines = []
    for model, rows in results.items():
        bare = rows[BARE]
        for row in rows.values():
            row["restored"] = {attack: restored(row, bare, attack) for attack in ATTACKS}
        lines += [
            f"**{MODELS[model][0]}** (r3d_tiny, embedded motion data, n = {bare['n']} test clips, PGD of {MODELS[model][2]}; "
            "percent right, 95% interval)", "",
            "| purifier | gradient | clean | " + " | ".join(f"{title}: blind | sees it | restored" for title in ATTACKS.values()) + " |",
            "|---|---|---:|" + "---:|---:|---:|" * len(ATTACKS),
        ]  # fmt: skip
        lines += [line(name, row) for name, row in rows.items()] + [""]
        lines += [
            f"- {name}, {ATTACKS[attack]}: {100 * share:.0f}% {_points(interval(row, bare, attack))}: {reason(name, row)}"
            for name, row in rows.items()
            for attack, share in row["restored"].items()
            if name != BARE and share is not None and share < ENOUGH
        ] + [""]
    lines += [
        "blind: the attack knows the bare model alone, as in the papers. sees it: it goes through the purifier, by the gradient of the",
        f"stand-in that is named where it has none (BPDA), over {options.samples} draws (EOT) where it is random; stand-ins were chosen on",
        f"validation clips. PGD takes 20 iterations{steps_of(rows)}. restored: of the clips that are right on",
        "clean, the share that the attack which sees the purifier fools, against that share without a purifier; ! is under",
        f"{100 * ENOUGH:.0f}%. Seed 0. Made by `python scripts/purifier_table.py`.",
    ]  # fmt: skip
    (target / "purifiers.md").write_text("\n".join(lines) + "\n")
    (target / "purifiers.json").write_text(json.dumps(results, indent=1) + "\n")


def _points(ends: tuple[float, float]) -> str:
    return f"[{100 * ends[0]:.0f}, {100 * ends[1]:.0f}]"


def stand_in(row: dict[str, Any]) -> str:
    """Return what stands in for a purifier in the backward pass, which its settings say after its own."""
    found = re.search(r"\)(\w+)\(", row["settings"])
    return found[1] if found else "identity"


def steps_of(rows: dict[str, dict[str, Any]]) -> str:
    """Say in which rows PGD takes more iterations than in the others."""
    found = {name: re.search(r"suite\.pgd\.steps=(\d+)", row["command"]) for name, row in rows.items()}
    return "".join(f", {name} {steps[1]}" for name, steps in found.items() if steps)


def line(name: str, row: dict[str, Any]) -> str:
    """Return a row of the Markdown table."""

    def cell(column: str) -> str:
        found = row["scores"].get(column)
        low, high = (100 * end for end in found["ci95"]) if found else (0.0, 0.0)
        return f"{100 * found['acc']:.0f} [{low:.0f}, {high:.0f}]" if found else ""

    way = "" if name == BARE else "exact" if row["differentiable"] else f"BPDA: {stand_in(row)}"
    way += ", EOT" if row["random"] else ""
    cells = [way, cell("clean")]
    for attack in ATTACKS:
        share = row["restored"][attack]
        flag = "" if share is None or share >= ENOUGH else " !"
        said = "" if name == BARE else "–" if share is None else f"{100 * share:.0f}%{flag}"
        cells += [cell(f"{attack}@oblivious"), cell(attack), said]
    return f"| {'no purifier' if name == BARE else name} | " + " | ".join(cells) + " |"


def main() -> None:
    """Score what is missing and publish what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rows", nargs="+", default=names()[1:], metavar="ROW", help="purifiers; all by default")
    parser.add_argument("--clips", type=int, default=50, help="test clips")
    parser.add_argument("--samples", type=int, default=5, help="draws of a random purifier behind each gradient")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--settings", type=json.loads, default={}, help='overrides, as {"jpeg": ["purifier.jpeg.quality=50"]}'
    )
    parser.add_argument("--trained", type=Path, default=TOP / "outputs" / "compare" / "models", help="the models' runs")
    parser.add_argument("--root", type=Path, default=TOP / "outputs" / "purifiers", help="where the rows are kept")
    parser.add_argument("--target", type=Path, default=TOP / "outputs" / "published", help="where the table goes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for model in options.models:
        train(model, options.trained / model, None, options.threads)
    if "comdefend" in options.rows and not options.settings:
        networks()
    for row in [BARE, *options.rows]:
        for model in options.models:
            try:
                found = score(row, model, options)
            except AdvvidError as error:
                print(f"{model}, {row}: not scored: {error}", flush=True)
                continue
            results.setdefault(model, {})[row] = found
            said = ", ".join(f"{name} {100 * value['acc']:.0f}" for name, value in found["scores"].items())
            print(f"{model}, {row}: {said}", flush=True)
            publish(results, options)


if __name__ == "__main__":
    main()

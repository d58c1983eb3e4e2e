"""Compare every attack that another library also has with that library's, on the same models and clips, in one run.

    python scripts/compare_attacks.py                     # about 30 minutes of one core; a killed run goes on
    python scripts/compare_attacks.py --models benign --rows pgd pgd_l2 --target outputs/compare

Needs ``pip install -e .[peers]``. The models are trained by the run itself; ``r3d_18`` needs the Weizmann clips
(``--realdata`` or $ADVVID_REALDATA, with ``weizmann/`` and ``weizmann_splits/`` in it).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

import advvid
from advvid.attacks.auto_attack import AutoAttack
from advvid.config.instantiate import safe_instantiate
from advvid.core import checkpoint
from advvid.core.progress import bar
from advvid.data.loader import eval_batches
from advvid.evaluation.columns import fingerprint
from advvid.evaluation.results import commit
from advvid.metrics.statistics import wilson
from advvid.models.build import build_model
from peers import versions
from strength_cells import Scale, Subject, cell
from strength_rows import all_rows
from strength_table import document, entry

TOP = Path(__file__).resolve().parent.parent

COMMON = ["mode=train", "seed=0", "tracker=none", "runtime=cpu"]
EMBEDDED = ["dataset=motion", "model=r3d_tiny", "schedule=embedded", "dataset.limit_val=50"]
REAL = [
    "defense=none",
    "dataset=ucf101",
    "dataset.root={realdata}/weizmann",
    "dataset.splits={realdata}/weizmann_splits",
    r"dataset.group_pattern='_p(\d+)_'",
    "dataset.frames=8",
    "dataset.stride=4",
    "dataset.size=48",
    "dataset.workers=0",
    "model=r3d_18",
    "schedule=embedded",
    "schedule.epochs=12",
    "schedule.batch_size=8",
    "schedule.optimizer.lr=1e-3",
    "dataset.limit_val=4",
]
MOTION = "The embedded clips (8 x 32 x 32)"
NOTES = [
    "The official AutoAttack package is not on PyPI; torchattacks carries its algorithm and stands for it, with its members' steps",
    "and queries set to ours. Not comparable, since the sets differ: foolbox's rotations, ART's universal patches.",
]


@dataclass(frozen=True)
class Model:
    """A row of models: how it is trained, on how many clips it is attacked, with which budgets."""

    title: str
    about: str
    overrides: Sequence[str]
    clips: int
    scale: Scale
    full: AutoAttack


MODELS = {
    "benign": Model("no defense", MOTION, ["defense=none", *EMBEDDED], 50, Scale(3 / 255, 1.0), AutoAttack()),
    "at": Model("AT, eps 8", MOTION, ["defense=at", *EMBEDDED], 50, Scale(6 / 255, 1.0), AutoAttack()),
    "cat": Model("CAT, eps 0 to 12", MOTION, ["defense=cat", *EMBEDDED], 50, Scale(8 / 255, 2.5), AutoAttack()),
    "r3d_18": Model(
        "torchvision r3d_18, real clips",
        "Weizmann (4 actions, 8 x 48 x 48), trained from scratch for 12 epochs",
        REAL,
        8,
        Scale(4 / 255, 2.0, steps=10, queries=100, targets=3, searches=3, side=48, small=True),
        AutoAttack(steps=20, targets=3, queries=200),
    ),
}


def train(name: str, folder: Path, realdata: Path | None, threads: int) -> str:
    """Train a model where it is missing, and return the command that does."""
    overrides = [part.format(realdata=realdata) if "{realdata}" in part else part for part in MODELS[name].overrides]
    command = ["-m", "advvid.train", *overrides, *COMMON, f"hydra.run.dir={folder}"]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.txt").open(
        "a"
    ) as output:  # a finished training is left alone, one of other settings refused
        whole = [sys.executable, *command, f"runtime.threads={threads}", "resume=true"]
        if subprocess.run(whole, check=False, stdout=output, stderr=subprocess.STDOUT).returncode:
            raise SystemExit(f"error: {folder.name} failed, see {folder / 'output.txt'}")
    shown = " ".join(["python", *command]).replace(f"{TOP}/", "")
    return shown.replace(str(realdata), "$ADVVID_REALDATA") if realdata else shown


def load(name: str, folder: Path, number: int) -> Subject:
    """Return a trained model with its test clips, round-robin over the classes."""
    source = checkpoint.find(folder)
    state = checkpoint.load(source)
    cfg: Any = OmegaConf.create(state["config"])
    cfg.dataset.limit_test = number
    dataset = safe_instantiate(cfg.dataset)
    dataset.prepare()
    model = build_model(cfg.model, len(dataset.classes), dataset.clip_shape, dataset.views, load_weights=False)
    model = safe_instantiate(cfg.defense).wrap(model)
    checkpoint.load_model(model, checkpoint.weights(state), source)
    model.eval().requires_grad_(False)
    batches = [batch.to("cpu") for batch in eval_batches(dataset.split("test"), number)]
    clips, labels = torch.cat([b.inputs for b in batches]), torch.cat([b.target for b in batches])
    with torch.no_grad():
        right = model(clips).argmax(dim=1) == labels
    ids = [clip for batch in batches for clip in batch.ids]
    return Subject(name, model, clips, labels, ids, right, str(fingerprint(model)))


def compare(subject: Subject, only: Sequence[str], seed: int, work: Path) -> list[dict[str, Any]]:
    """Fill in the cells of one model and return its lines."""
    model = MODELS[subject.name]
    rows = all_rows(model.scale, model.full, only)
    lines = []
    with bar(subject.name, sum(1 + len(row.peers) for row in rows)) as progress:
        for row in rows:
            progress.describe(f"{subject.name} {row.name}")
            ours = cell(subject, row, row.ours, seed, work)
            progress.advance(1)
            for peer in row.peers:
                theirs = cell(subject, row, peer, seed, work)
                lines.append(entry(subject.name, row, ours, theirs, peer, seed))
                progress.advance(1)
                print(_said(lines[-1]), flush=True)
    return lines


def _said(line: dict[str, Any]) -> str:
    theirs = line["theirs"]
    other = "fails" if theirs is None else f"{100 * theirs['acc']:.1f} ({theirs['seconds']:.0f} s, {line['layout']})"
    longer = "" if line["further"] is None else f", longer by {100 * line['further']:.1f}%"
    return (
        f"{line['model']} {line['row']}: {100 * line['ours']['acc']:.1f} ({line['ours']['seconds']:.0f} s) against "
        f"{line['peer']} {other}{longer}: {line['verdict']}"
    )


def publish(result: dict[str, Any], target: Path) -> None:
    """Write the tables."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "attack_strength.json").write_text(json.dumps(result, indent=1) + "\n")
    (target / "attack_strength.md").write_text(document(result))


def main() -> None:
    """Train what is missing, compare, publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL", help=f"of {', '.join(MODELS)}"
    )
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="names of rows; all by default")
    parser.add_argument("--clips", type=int, help="of each model, fewer than its own number")
    parser.add_argument("--seed", type=int, default=0, help="of the attacks")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=TOP / "outputs" / "compare", help="where runs and cells are kept")
    parser.add_argument("--target", type=Path, default=TOP / "outputs" / "published", help="where the tables go")
    parser.add_argument("--realdata", type=Path, default=os.environ.get("ADVVID_REALDATA"), help="folder of weizmann/")
    options = parser.parse_args()
    if "r3d_18" in options.models and options.realdata is None:
        parser.error(
            "the model r3d_18 needs real clips: give --realdata=<folder of weizmann/>, or leave it out of --models"
        )
    torch.set_num_threads(options.threads)
    result: dict[str, Any] = {
        "command": f"python scripts/compare_attacks.py --seed {options.seed}",
        "seed": options.seed,
        "commit": commit(),
        "versions": {"advvid": advvid.__version__, "torch": torch.__version__, **versions()},
        "notes": NOTES,
        "models": {},
        "lines": [],
    }
    whole = options.models == list(MODELS) and not options.rows and options.clips is None
    for name in options.models:
        folder = options.work / "models" / name
        command = train(name, folder, options.realdata, options.threads)
        subject = load(name, folder, min(options.clips or MODELS[name].clips, MODELS[name].clips))
        result["lines"] += compare(subject, options.rows, options.seed, options.work / "cells")
        result["models"][name] = {
            "title": MODELS[name].title,
            "about": MODELS[name].about,
            "command": command,
            "n": len(subject.labels),
            "clean": float(subject.right.float().mean()),
            "ci95": wilson(int(subject.right.sum()), len(subject.labels)),
            "weights": subject.weights,
        }
    publish(result, options.target if whole else options.work)


if __name__ == "__main__":
    main()

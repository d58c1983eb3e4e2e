"""Every option of conf/ counts or changes no number; for each that is said to change none, small runs give the same bits."""

import json
import shutil

import numpy as np
import options_walk
import pytest
from tests import small_training

from advvid.config.composed import composed
from advvid.core import checkpoint, digests
from advvid.core.option_parts import NEUTRAL, ROUNDING, part_of
from advvid.data.motion import Motion
from advvid.experiment.run import run

SMALL = (*small_training.SMALL, "schedule.epochs=1")
FILES = ("dataset=ucf101", "dataset.frames=8", "dataset.size=32", "dataset.workers=0", "dataset.root=ROOT")
FIRST = ("defense=injection", "defense.classifier_schedule.epochs=1", "defense.attacks.deep_sava.steps=2")
SCORE = ("mode=eval", "checkpoint=RUN")
# Two runs that differ in a neutral option, by its pattern: what both have, what only one has.
QUICK = {
    "resume": ((), ("resume=true",)),
    "trust*": ((), ("trust=[my_lab]",)),
    "name": ((), ("name=other",)),
    "*schedule.checkpoint_minutes": ((), ("schedule.checkpoint_minutes=0",)),
    "evaluation.pictures": ((), ("evaluation.pictures=2",)),
    "dataset.on_error": ((), ("dataset.on_error=skip",)),
}
SLOW = {
    "mode": ((), ("mode=train",)),
    "overwrite": ((), ("overwrite=true",)),
    "runtime.profile": ((), ("runtime.profile=true",)),
    "dataset.workers": ((), ("dataset.workers=2",)),
    "tracker*": ((), ("tracker=wandb", "tracker.mode=offline")),
    "experiment": (("schedule.batch_size=10",), ()),
    "hydra*": ((), ()),
    "dataset.allow_overlap": (FILES, ("dataset.allow_overlap=true",)),
    "dataset.name": (FILES, ("dataset.name=other",)),
    "dataset.root": (FILES, ("dataset.root=COPY",)),
    "dataset.splits": (FILES, ("dataset.splits=LISTS",)),
    "dataset.cache": (FILES, ("dataset.cache=CACHE",)),
    "dataset.cache_gb": (FILES, ("dataset.cache=CACHE", "dataset.cache_gb=1e-4")),
    "defense.folder": (FIRST, ("defense.folder=CACHE",)),
    "checkpoint": (SCORE, ("checkpoint=MOVED",)),
    "analysis.pictures": ((*SCORE, "analysis=saliency"), ("analysis.pictures=1",)),
    "analysis.labels": ((*SCORE, "analysis=saliency"), ("analysis.labels=[mine]",)),
}
# What an analysis writes down for its pictures, and how it calls a model.
DRAWN = ("label", "checkpoint", "maps")
# What no run of conf/ can tell apart: files are given by their names, and labels are those of the files.
ELSEWHERE = {"files", "labels", "whole", "choices*"}


def go(folder, *overrides):
    cfg = composed([*SMALL, *overrides])
    folder.mkdir(parents=True, exist_ok=True)
    run(cfg, folder, {"defense": "at", "attack": "pgd", "dataset": "motion", "analysis": "saliency"})
    return folder


def bits(folder):
    """Return digests of the weights, of each cell under its key, and of each analysis; measured times left aside."""
    found = {}
    for path in sorted(folder.rglob("*.pt")):
        if path.name in ("last.pt", "best.pt"):
            found[path.name] = digests.of_tensors(checkpoint.load(path)["model"])
    for path in sorted(folder.glob("cells/*/*.npz")):
        with np.load(path) as cell:
            arrays = {k: cell[k].tolist() for k in cell.files if k != "seconds"}
        found[f"{path.parent.name}/{path.stem}"] = digests.of_values(arrays)
    for path in sorted(folder.glob("analysis/*.json")):
        models = json.loads(path.read_text())["models"]
        found[path.name] = digests.of_values([{k: v for k, v in m.items() if k not in DRAWN} for m in models])
    return found


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    """Places that overrides name, and runs without the option, each made once."""
    top = tmp_path_factory.mktemp("baseline")
    runs = {}

    def base(overrides):
        if overrides not in runs:
            runs[overrides] = bits(go(top / f"base{len(runs)}", *placed(overrides)))
        return runs[overrides]

    def placed(overrides):
        words = " ".join(overrides)
        if "ROOT" in words and not (top / "ROOT").exists():
            embedded = Motion()
            embedded.prepare()
            for name in ("ROOT", "COPY"):
                shutil.copytree(embedded.root, top / name)
            shutil.copytree(embedded.root / "ucfTrainTestlist", top / "LISTS")
        if "RUN" in words and not (top / "RUN").exists():
            go(top / "RUN")
            shutil.copytree(top / "RUN", top / "MOVED")
        names = ("ROOT", "COPY", "LISTS", "CACHE", "RUN", "MOVED")
        return [w.replace(n, str(top / n)) if (n := w.rpartition("=")[2]) in names else w for w in overrides]

    return base, placed


def compared(baseline, tmp_path, pattern, both, one):
    base, placed = baseline
    found, expected = bits(go(tmp_path / "run", *placed((*both, *one)))), base(both)
    if pattern == "mode":  # the rest is done by a second command
        found = bits(go(tmp_path / "run", "resume=true"))
    assert expected
    assert found == expected


@pytest.mark.parametrize("pattern", QUICK)
def test_what_is_neutral_gives_the_same_bits(baseline, tmp_path, pattern):
    compared(baseline, tmp_path, pattern, *QUICK[pattern])


@pytest.mark.slow
@pytest.mark.parametrize("pattern", SLOW)
def test_whatever_is_neutral_gives_the_same_bits(baseline, tmp_path, pattern):
    compared(baseline, tmp_path, pattern, *SLOW[pattern])


def test_every_neutral_option_is_tried():
    assert set(NEUTRAL) == set(QUICK) | set(SLOW) | ELSEWHERE


def test_clips_attacked_at_once_move_no_more_than_the_last_bits(tmp_path):
    assert part_of("evaluation.micro_batch") == part_of("runtime.threads") == ROUNDING
    folders = [go(tmp_path / str(i), f"evaluation.micro_batch={size}") for i, size in enumerate(("null", "3"))]
    cells = [[np.load(path)["out"] for path in sorted(f.glob("cells/*/*.npz"))] for f in folders]
    for one, other in zip(*cells, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def explained(every):
    kinds, _, lost = options_walk.walk(every)
    assert not lost
    assert kinds["neutral"] > 10
    return kinds


def test_every_option_of_some_files_counts_or_is_neutral():
    explained(30)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_option_counts_or_is_neutral():
    kinds = explained(1)
    assert kinds["declared"] > 0.8 * (sum(kinds.values()) - kinds["declared"])

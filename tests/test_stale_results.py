"""An evaluation in the same folder computes again exactly what no longer holds: nothing stale, nothing needless."""

import json

import numpy as np
import pytest

from advvid.config.composed import composed_with_choices
from advvid.data import motion
from advvid.data.content import Contents
from advvid.evaluation import cells
from advvid.experiment.run import run

SMALL = (
    "model.width=0.25",
    "dataset.limit_train=20",
    "dataset.limit_val=10",
    "dataset.limit_test=12",
    "schedule.epochs=1",
    "schedule.batch_size=10",
    "evaluation.batch_size=6",
    "evaluation.pictures=0",
    "tracker=none",
    "attack.steps=2",
    "suite=own",
    "runtime=cpu",
    "name=small",
)


def carried_out(folder, *overrides):
    cfg, choices = composed_with_choices([*SMALL, *overrides])
    folder.mkdir(parents=True, exist_ok=True)
    return run(cfg, folder, choices)


@pytest.fixture(scope="module", autouse=True)
def few_videos():
    """Of other embedded data, which is made for this file alone, no more than the limits above take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            motion, "SPLITS", {"train": (3, range(8, 11)), "val": (1, range(26, 27)), "test": (2, range(1, 3))}
        )
        yield


@pytest.fixture(scope="module")
def trained(few_videos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    carried_out(folder, "mode=train")
    return folder


@pytest.fixture
def written(monkeypatch):
    names = []
    write = cells.Cells.write

    def counted(self, name, batch, cell):
        names.append(name)
        write(self, name, batch, cell)

    monkeypatch.setattr(cells.Cells, "write", counted)
    return names


def evaluated(trained, folder, *overrides):
    table = carried_out(folder, "mode=eval", f"checkpoint={trained}", *overrides)
    assert json.loads((folder / "robustness.json").read_text())["n"] == table["n"]
    return {key: table[key] for key in ("n", "clean", "attacks", "controls", "mean", "union")}, table["identity"]


def outputs(folder):
    """Return the model's outputs of every cell of clean clips, as bytes."""
    return {np.load(path)["out"].tobytes() for path in folder.glob("cells/clean-*/*.npz")}


def told(table):
    attacks = {k: (v["acc"], v["max_distance"], v["gradient_calls"]) for k, v in table["attacks"].items()}
    return table["n"], table["clean"], table["union"], attacks


@pytest.mark.parametrize(
    "change",
    [
        "dataset.seed=1",
        "dataset=motion_look",
        "dataset.stride=2",
        "dataset.test_clips=2",
        "model.size=16",
        "model.mean=0.9",
        "model.frames=4",
        "purifier=[jpeg]",
        "dataset.limit_test=11",
    ],
)
def test_no_number_of_another_configuration_is_shown(trained, tmp_path, written, change):
    evaluated(trained, tmp_path / "same")
    before = outputs(tmp_path / "same")
    written.clear()
    again, rests = evaluated(trained, tmp_path / "same", change)
    fresh, expected = evaluated(trained, tmp_path / "fresh", change)
    assert (
        "clean" in written
    )  # a network that learned little says the same of many clips: the table alone tells nothing
    assert told(again) == told(fresh)
    new = outputs(tmp_path / "same") - before
    assert new
    assert new <= outputs(tmp_path / "fresh")
    assert rests == expected


@pytest.mark.parametrize(
    ("changes", "anew"),
    [
        (["evaluation.pictures=0", "runtime.threads=1", "schedule.epochs=2", "defense.inner_steps=7"], set()),
        (["attack.eps=4/255"], {"pgd"}),
        (["seed=1"], {"pgd", "random_noise_8"}),
        (["+attack@suite.fgsm=fgsm"], {"fgsm"}),
        (["suite=quick"], {"fgsm_8", "masked_pgd_10", "frame_border_10"}),
        (["model.mean=0.9"], {"clean", "pgd", "random_noise_8"}),
    ],
)
def test_what_did_not_change_is_not_computed_again(trained, tmp_path, written, changes, anew):
    evaluated(trained, tmp_path)
    assert set(written) == {"clean", "pgd", "random_noise_8"}
    written.clear()
    evaluated(trained, tmp_path, *changes)
    assert set(written) == anew
    written.clear()
    evaluated(trained, tmp_path, *changes)
    assert written == []


def test_one_changed_clip_changes_one_batch():
    ids = [f"clip {i}" for i in range(10)]
    before, after = Contents(ids, list("abcdefghij")), Contents(ids, list("abcdeXghij"))
    same = [old == new for old, new in zip(before.batches(4), after.batches(4), strict=True)]
    assert same == [True, False, True]
    assert before.digest != after.digest

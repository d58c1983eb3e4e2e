"""A whole run of next-frame prediction: the same commands as for classifiers, with errors in place of verdicts."""

import json
import subprocess
import sys

import numpy as np
import pytest

from advvid.data.moving import MovingDigits

pytestmark = pytest.mark.slow
DATA = {"sequences": 40, "size": 16, "frames": 3}
RUN = [
    "dataset=moving_digits",
    *(f"dataset.{key}={value}" for key, value in DATA.items()),
    "model=next_frame",
    "model.width=0.125",
    "attack=pgd",
    "attack.eps=32/255",
    "attack.steps=3",
    "suite=quick",
    "schedule.batch_size=8",
    "evaluation.batch_size=3",
    "defense.inner_steps=2",
    "runtime=cpu",
    "schedule.kind=constant",
    "schedule.warmup=0",
]


def run(*overrides):
    command = [sys.executable, "-m", "advvid.train", *overrides]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("next_frame")
        patch.setenv("ADVVID_CACHE", str(folder / "cache"))
        for epochs in (1, 3):  # the second call goes on where the first one stopped
            done = run(
                *RUN, "defense=at", f"schedule.epochs={epochs}", f"hydra.run.dir={folder / 'run'}", "resume=true"
            )
            assert done.returncode == 0, done.stderr
        assert "resuming at epoch 2" in done.stdout + done.stderr
        yield folder / "run", done.stdout


def test_the_table_has_errors_and_no_verdicts(finished):
    folder, said = finished
    table = json.loads((folder / "robustness.json").read_text())
    assert table["n"] == 4
    assert list(table["attacks"]) == ["fgsm_8", "masked_pgd_10", "frame_border_10", "pgd"]
    assert not {"mean", "union", "mean_attacks"} & table.keys()
    for entry in (table["clean"], *table["attacks"].values(), *table["controls"].values()):
        assert "acc" not in entry
        assert entry["metrics"]["mse"] > 0
        assert -1 <= entry["metrics"]["ssim"] <= 1
    assert table["attacks"]["pgd"]["metrics"]["mse"] > table["clean"]["metrics"]["mse"]
    for text in (said, (folder / "robustness.md").read_text()):
        assert "no accuracy" in text
        assert "mse" in text
        assert "Wilson" not in text


def test_the_error_is_that_of_the_outputs_on_the_frames_of_the_file(finished):
    folder, _ = finished
    data = MovingDigits(**DATA)
    data.prepare()
    truth = data.split("test").targets.numpy() / 255
    key = json.loads((folder / "robustness.json").read_text())["identity"]["columns"]["clean"][:16]
    cells = [np.load(path) for path in (folder / "cells" / f"clean-{key}").glob("*.npz")]
    found = dict(zip(np.concatenate([c["id"] for c in cells]), np.concatenate([c["out"] for c in cells]), strict=True))
    outs = np.stack([found[name] for name in data.split("test").ids])
    table = json.loads((folder / "robustness.json").read_text())
    assert table["clean"]["metrics"]["mse"] == pytest.approx(((outs - truth) ** 2).mean(), rel=1e-4)


def test_training_learned_and_left_pictures_of_predictions(finished):
    folder, _ = finished
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert all(line["val_acc"] is None for line in lines)
    assert {path.stem for path in (folder / "pictures").glob("*.png")} >= {"fgsm_8", "pgd", "masked_pgd_10"}


def test_it_is_scored_again_from_its_checkpoint_by_its_own_suite(finished, tmp_path):
    folder, _ = finished
    short = [f"suite.deep_sava_{kind}.steps=2" for kind in ("first", "chosen")]
    done = run("mode=eval", f"checkpoint={folder}", "suite=next_frame", *short, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    first, again = (json.loads((path / "robustness.json").read_text()) for path in (folder, tmp_path))
    assert again["clean"]["metrics"] == pytest.approx(first["clean"]["metrics"])
    assert again["attacks"].keys() >= {"fgsm_8", "deep_sava_first", "deep_sava_chosen", "pgd"}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["dataset=motion"], "choose another model, or dataset=moving_digits"),
        (["mode=attack"], "the checkpoint's task is NextFrame"),
        (["analysis=strength"], "which the prediction of frames does not have"),
    ],
)
def test_what_needs_classes_is_told_in_one_sentence(finished, overrides, said, tmp_path):
    done = run("mode=eval", f"checkpoint={finished[0]}", *overrides, f"hydra.run.dir={tmp_path}")
    assert done.returncode != 0
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr

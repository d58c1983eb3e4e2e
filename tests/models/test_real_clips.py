"""The papers' networks train a few steps on real clips, are scored, and go on where they were."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REAL = Path(os.environ.get("ADVVID_REALDATA", "/nowhere"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here: set ADVVID_REALDATA"),
]
DATA = [
    "dataset=ucf101",
    f"dataset.root={REAL / 'ut_interaction'}",
    f"dataset.splits={REAL / 'ut_interaction_splits'}",
    r"dataset.group_pattern='(set\d)_\d+_(\d+)_'",
    "dataset.limit_train=6",
    "dataset.limit_val=3",
    "dataset.limit_test=3",
    "dataset.test_clips=1",
    "dataset.workers=0",
    "attack.steps=1",
    "suite=quick",
    "schedule.batch_size=3",
    "evaluation.pictures=0",
    "tracker=none",
]
# Width and clip shape at which two cores take about a minute; the networks' depth and their own frame count stay.
MODELS = {
    "i3d": ["model.width=0.125", "dataset.frames=16", "dataset.size=112", "model.size=null", "model.frames=null"],
    "c3d": ["model.width=0.125", "dataset.frames=16", "dataset.size=112"],
    "resnext3d_101": ["model.width=0.25", "dataset.frames=16", "dataset.size=64", "model.size=null"],
    "cnn_lstm": ["dataset.frames=8", "dataset.size=32"],
}


@pytest.mark.parametrize("model", MODELS)
def test_trains_is_scored_and_goes_on(model, tmp_path):
    def run(epochs):
        overrides = [*DATA, f"model={model}", *MODELS[model], f"schedule.epochs={epochs}", f"hydra.run.dir={tmp_path}"]
        command = [
            sys.executable,
            "-m",
            "advvid.train",
            *overrides,
            "schedule.kind=constant",
            "schedule.warmup=0",
            "resume=true",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    run(1)
    first = (tmp_path / "metrics.jsonl").read_text()
    assert "resuming at epoch 2" in run(2)
    assert (tmp_path / "metrics.jsonl").read_text().startswith(first)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    table = json.loads((tmp_path / "robustness.json").read_text())
    assert table["n"] == 3
    assert set(table["attacks"]) == {"fgsm_8", "masked_pgd_10", "frame_border_10", "pgd"}

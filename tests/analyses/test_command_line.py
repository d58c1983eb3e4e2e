"""Analyses as people start them."""

import json
import subprocess
import sys

import pytest

SMALL = ["tracker=none", "runtime=cpu", "dataset.limit_test=10", "evaluation.batch_size=4"]


def run(*overrides):
    return subprocess.run(
        [sys.executable, "-m", "advvid.train", *overrides], capture_output=True, text=True, timeout=200
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "trained"
    done = run(
        "mode=train",
        "model.width=0.25",
        "schedule.epochs=1",
        "dataset.limit_train=20",
        "dataset.limit_val=10",
        "attack.steps=2",
        *SMALL,
        f"hydra.run.dir={folder}",
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["strength", "transfer_matrix"])
def test_an_analysis_takes_the_place_of_the_table(trained, tmp_path, name):
    further = f"analysis.checkpoints=[{trained}/checkpoints/best.pt]"
    done = run("mode=eval", f"checkpoint={trained}", f"analysis={name}", further, *SMALL, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "no attack" in done.stdout
    result = json.loads((tmp_path / "analysis" / f"{name}.json").read_text())
    assert result["n"] == 10
    assert [model["label"] for model in result["models"]] == ["trained last", "trained best"]
    assert result["config"]["choices"]["analysis"] == name
    assert not (tmp_path / "robustness.json").exists()
    assert (tmp_path / "analysis" / f"{name}.svg").is_file()


@pytest.mark.slow
def test_a_misspelt_analysis_is_no_silent_table(trained, tmp_path):
    done = run("mode=eval", f"checkpoint={trained}", "analysis=strenght", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert "did you mean strength?" in done.stderr

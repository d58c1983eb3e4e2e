"""Purifiers and the detector as people choose them."""

import json
import subprocess
import sys

import pytest

from advvid.evaluation.tally import summarise

SMALL = [
    "tracker=none",
    "runtime=cpu",
    "dataset.limit_test=10",
    "evaluation.batch_size=5",
    "evaluation.pictures=1",
    "evaluation.eot_samples=2",
    "attack.steps=3",
    "suite.masked_pgd_10.steps=2",
    "suite.frame_border_10.steps=2",
]


def run(*overrides):
    return subprocess.run(
        [sys.executable, "-m", "advvid.train", *overrides], capture_output=True, text=True, timeout=500
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "trained"
    done = run(
        "mode=train",
        "model.width=0.25",
        "schedule.epochs=2",
        "dataset.limit_train=40",
        "dataset.limit_val=10",
        *SMALL,
        f"hydra.run.dir={folder}",
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "front",
    [
        "purifier=[jpeg]",
        "purifier=[jpeg,gaussian_blur]",
        "purifier=[noise_injection]",
        "detector=temporal_consistency",
        "detector=temporal_shuffling",
    ],
)
def test_a_finished_model_is_scored_behind_them(trained, tmp_path, front):
    done = run("mode=eval", f"checkpoint={trained}", front, *SMALL, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "robustness.json").read_text())
    assert set(table["extra"]) == {f"{name}@oblivious" for name in table["attacks"]}
    assert {score["access"] for score in table["attacks"].values()} == {"adaptive"}
    assert {score["access"] for score in table["extra"].values()} == {"oblivious"}
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    again = summarise(samples, list(table["attacks"]), list(table["controls"]), list(table["extra"]))
    assert table["union"] == again["union"]
    for name, score in again["extra"].items():
        assert table["extra"][name]["acc"] == score["acc"]
    assert "oblivious" in (tmp_path / "robustness.md").read_text()


@pytest.mark.slow
def test_a_misspelt_purifier_is_told(trained, tmp_path):
    done = run("mode=eval", f"checkpoint={trained}", "purifier=[jpg]", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert "jpeg" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2

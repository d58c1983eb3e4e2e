"""A search over settings chooses by validation clips alone; Hydra's Optuna and Ray carry jobs out where they are installed."""

import importlib.util
import subprocess
import sys

import pytest
import yaml
from omegaconf import OmegaConf

from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.experiment.search import sought

SMALL = (
    "-m", "mode=train", "tracker=none", "runtime=cpu", "runtime.threads=1", "model.width=0.25", "schedule.epochs=1",
    "dataset.limit_train=8", "dataset.limit_val=4",
)  # fmt: skip


def installed(plugin):
    return importlib.util.find_spec("hydra_plugins") and importlib.util.find_spec(f"hydra_plugins.{plugin}")


def started(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "advvid.train", *words], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_a_training_is_judged_by_its_validation_and_an_evaluation_of_it_by_the_union(tmp_path):
    checkpoint.save(tmp_path / "checkpoints" / "last.pt", {"model": {}, "best": 0.75})
    cfg = OmegaConf.create({"mode": "train_eval", "evaluation": {"split": "test"}})
    assert sought(cfg, tmp_path, {"union": {"acc": 0.1}}) == 0.75
    cfg = OmegaConf.create({"mode": "eval", "evaluation": {"split": "val"}})
    assert sought(cfg, tmp_path, {"union": {"acc": 0.1}}) == 0.1
    cfg.evaluation.split = "test"
    with pytest.raises(AdvvidError, match=r"evaluation\.split=val"):
        sought(cfg, tmp_path, {"union": {"acc": 0.1}})


@pytest.mark.slow
def test_optuna_looks_for_the_best_validation_accuracy(tmp_path):
    if not installed("hydra_optuna_sweeper"):
        done = started(*SMALL, "hydra/sweeper=search", "seed=0,1", cwd=tmp_path)
        assert done.returncode == 1
        assert "hydra/sweeper=optuna is not installed: pip install 'advvid[optuna]'" in done.stderr
        return
    words = ("hydra/sweeper=search", "hydra.sweeper.n_trials=2", "schedule.optimizer.lr=interval(1e-3,1e-1)")
    done = started(*SMALL, *words, f"hydra.sweep.dir={tmp_path}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())
    best = [checkpoint.load(tmp_path / job / "checkpoints" / "last.pt")["best"] for job in "01"]
    assert found["best_value"] == max(best)


@pytest.mark.slow
def test_ray_carries_out_the_jobs_of_a_sweep(tmp_path):
    if not installed("hydra_ray_launcher"):
        done = started(*SMALL, "hydra/launcher=ray", "seed=0,1", cwd=tmp_path)
        assert done.returncode == 1
        assert "hydra/launcher=ray is not installed: pip install 'advvid[ray]'" in done.stderr
        return
    done = started(*SMALL, "hydra/launcher=ray", "seed=0,1", f"hydra.sweep.dir={tmp_path}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / job / "checkpoints" / "last.pt").is_file() for job in "01")

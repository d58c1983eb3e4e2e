"""Sweeps on other launchers than Hydra's own: side by side on one machine, and as jobs of a cluster."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from omegaconf import OmegaConf

from advvid.core.paths import conf_dir

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs pip install advvid[sweeps]")
pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs pip install advvid[sweeps]")

SMALL = [
    "-m",
    "seed=0,1",
    "schedule.epochs=4",
    "schedule.batch_size=8",
    "dataset.limit_train=64",
    "dataset.limit_test=10",
    "dataset.limit_val=10",
    "attack.steps=2",
    "evaluation.pictures=0",
    "tracker=none",
    "runtime.threads=1",
    "schedule.checkpoint_minutes=0",
    "resume=true",
]


def started(*overrides):
    return subprocess.Popen(
        [sys.executable, "-m", "advvid.train", *overrides], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def tables(folder):
    return [json.loads((folder / job / "robustness.json").read_text()) for job in ("0", "1")]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    process = started(*SMALL, f"hydra.sweep.dir={folder}")
    _, told = process.communicate()
    assert process.returncode == 0, told
    return tables(folder)


def equal(one, other):
    assert [t["seed"] for t in one] == [t["seed"] for t in other] == [0, 1]
    for a, b in zip(one, other, strict=True):
        assert (a["clean"]["acc"], a["union"], a["mean"]) == (b["clean"]["acc"], b["union"], b["mean"])


@pytest.mark.slow
def test_joblib_runs_jobs_side_by_side(plain, tmp_path):
    process = started(*SMALL, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={tmp_path}")
    _, told = process.communicate()
    assert process.returncode == 0, told
    equal(tables(tmp_path), plain)


@pytest.mark.slow
def test_a_preempted_job_saves_goes_back_into_the_queue_and_goes_on(plain, tmp_path):
    """Submitit's local mode stands in for SLURM: it sends the same signal and starts a requeued job again."""
    process = started(*SMALL, "hydra/launcher=submitit_local", f"hydra.sweep.dir={tmp_path}")
    limit = time.monotonic() + 300
    while not (tmp_path / "0" / "checkpoints" / "last.pt").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    found = subprocess.run(["pgrep", "-f", f"submitit.core._submit {tmp_path}"], capture_output=True, text=True)
    for job in found.stdout.split():
        os.kill(int(job), signal.SIGUSR2)
    _, told = process.communicate(timeout=500)
    assert process.returncode == 0, told
    logs = "".join(path.read_text() for path in tmp_path.rglob("*_log.*"))
    assert "Caught signal SIGUSR2" in logs
    assert "resuming at epoch" in logs
    equal(tables(tmp_path), plain)


def test_the_slurm_settings_are_all_known_to_the_launcher():
    from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf

    ours = OmegaConf.to_container(OmegaConf.load(conf_dir() / "hydra" / "launcher" / "slurm.yaml"))
    assert ours.pop("defaults") == ["submitit_slurm"]
    assert set(ours) <= set(SlurmQueueConf.__dataclass_fields__)
    assert ours["max_num_timeout"] > 0

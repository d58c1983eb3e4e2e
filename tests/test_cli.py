"""The command line as people use it: runs that survive kills, evaluations that repeat, problems in one sentence."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.command import run as forked

from advvid.evaluation.tally import summarise

QUICK = [
    "tracker=none",
    "runtime=cpu",
    "dataset.limit_train=40",
    "dataset.limit_val=20",
    "dataset.limit_test=20",
    "schedule.epochs=3",
    "schedule.batch_size=10",
    "evaluation.batch_size=5",
    "suite.masked_pgd_10.steps=3",
    "suite.frame_border_10.steps=3",
    "attack.steps=4",
    "defense.inner_steps=2",
]


def command(*overrides):
    return [sys.executable, "-m", "advvid.train", *overrides]


def refused(*overrides, cwd):
    """Return what a command says that ends before it computes anything."""
    done = forked([*overrides], cwd)
    assert done.status not in (0, None), done.said
    assert "Traceback" not in done.said
    return done.said


def run(*overrides):
    """Run a command as a user does; where it is about its work alone, ``forked`` spares importing everything again."""
    return subprocess.run(command(*overrides), capture_output=True, text=True, timeout=300)


def result(folder):
    """The run's table and per-clip lines, without wall-clock times and folder names."""
    table = json.loads((folder / "robustness.json").read_text())
    for column in [*table["attacks"].values(), *table["controls"].values()]:
        del column["seconds"]
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    for line in samples:
        for entry in line["attacks"].values():
            del entry["seconds"]
    kept = {k: table[k] for k in ("n", "clean", "attacks", "controls", "mean", "mean_attacks", "union")}
    return kept, samples


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One small AAT run (the defense with the most state), trained and scored without interruption."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    done = run("defense=aat", "defense.xi=1", *QUICK, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_leaves_what_is_promised(finished):
    for name in (
        ".hydra/config.yaml",
        "train.log",
        "metrics.jsonl",
        "checkpoints/last.pt",
        "checkpoints/best.pt",
        "robustness.json",
        "robustness.md",
        "samples.jsonl",
        "pictures/pgd.png",
    ):
        assert (finished / name).is_file(), name
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    for key in (
        "loss",
        "train_acc",
        "val_acc",
        "val_robust_acc",
        "budget",
        "probabilities",
        "lr",
        "clips_per_s",
        "passes",
    ):
        assert key in lines[-1]
    assert abs(sum(lines[-1]["probabilities"].values()) - 1) < 1e-9


def test_the_table_follows_from_the_samples(finished):
    table = json.loads((finished / "robustness.json").read_text())
    samples = [json.loads(line) for line in (finished / "samples.jsonl").read_text().splitlines()]
    again = summarise(samples, list(table["attacks"]), list(table["controls"]))
    assert table["schema"] == 1
    assert table["n"] == again["n"] == 20
    for section in ("attacks", "controls"):
        for name, score in again[section].items():
            assert table[section][name]["acc"] == score["acc"]
            assert table[section][name]["ci95"] == score["ci95"]
            assert table[section][name]["violations"] == 0
    assert table["clean"]["acc"] == sum(s["clean"] == s["label"] for s in samples) / 20
    for key in ("mean", "mean_attacks", "union"):
        assert table[key] == again[key]
    columns = [table["clean"]["acc"], *(a["acc"] for a in table["attacks"].values())]
    assert table["mean"]["acc"] == pytest.approx(sum(columns) / len(columns))
    assert table["union"]["acc"] <= min(columns)
    assert set(table["attacks"]) == {"fgsm_8", "masked_pgd_10", "frame_border_10", "pgd"}
    assert set(table["controls"]) == {"random_noise_8"}


def test_eval_repeats_the_training_runs_numbers(finished, tmp_path):
    words = ["mode=eval", f"checkpoint={finished}", "tracker=none", "runtime=cpu", f"hydra.run.dir={tmp_path}"]
    done = forked(words, tmp_path)
    assert done.status == 0, done.said
    assert result(tmp_path) == result(finished)


def test_eval_takes_what_the_command_line_sets(finished, tmp_path):
    words = [
        "mode=eval",
        f"checkpoint={finished / 'checkpoints/best.pt'}",
        "tracker=none",
        "suite=kinfu",
        "dataset.limit_test=10",
        "suite.masked_pgd_10.steps=2",
        "suite.frame_border_10.steps=2",
        f"hydra.run.dir={tmp_path}",
    ]
    done = forked(words, tmp_path)
    assert done.status == 0, done.said
    table, _ = result(tmp_path)
    assert table["n"] == 10
    assert list(table["attacks"]) == ["pgd_4", "pgd_8", "pgd_12", "pgd_15", "masked_pgd_10", "frame_border_10"]


def lines_in(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.is_file() else 0


@pytest.mark.slow
@pytest.mark.parametrize(("file", "lines"), [("metrics.jsonl", 1), ("metrics.jsonl", 2), ("samples.jsonl", 5)])
def test_killed_and_resumed_equals_uninterrupted(finished, tmp_path, file, lines):
    arguments = ["defense=aat", "defense.xi=1", *QUICK, f"hydra.run.dir={tmp_path}", "resume=true"]
    process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 200
    while lines_in(tmp_path / file) < lines and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "robustness.json").is_file(), "the kill came too late to mean anything"
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    # A kill between the first epoch's line and its checkpoint leaves nothing to resume from: the run starts again.
    assert "resuming" in done.stderr or (file, lines) == ("metrics.jsonl", 1)
    assert result(tmp_path) == result(finished)
    metrics = [
        [
            {k: v for k, v in json.loads(line).items() if k != "clips_per_s"}
            for line in (f / "metrics.jsonl").read_text().splitlines()
        ]
        for f in (tmp_path, finished)
    ]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["attack.epps=1"], "attack.eps"),
        (["attack=pdg"], "pgd"),
        (["mode=evil"], "mode='evil' is not known"),
        (["mode=eval"], "checkpoint="),
        (["mode=eval", "checkpoint=/nowhere"], "/nowhere does not exist"),
        (["attack.eps=8"], "eps=8 is not a possible l-inf budget"),
        (["dataset=ucf101", "dataset.root=/nowhere"], "/nowhere"),
        (["resume=true"], "hydra.run.dir"),
        (["suite=quick", "+attack@suite.pgd=pgd", "suite.pgd.eps=1/255"], "other settings than attack=pgd"),
    ],
)
def test_a_mistake_is_one_sentence_and_a_failure(overrides, words, tmp_path):
    where = [] if "resume=true" in overrides else [f"hydra.run.dir={tmp_path}"]
    assert words in refused("tracker=none", *overrides, *where, cwd=tmp_path)
    assert not list(tmp_path.rglob("last.pt"))


@pytest.mark.parametrize("place", ["taken", "taken/run"])
def test_a_run_folder_that_cannot_be_made_is_named(tmp_path, place):
    (tmp_path / "taken").write_text("a file")
    said = refused(f"hydra.run.dir={tmp_path / place}", cwd=tmp_path)
    assert f"the run folder {tmp_path / place} cannot be made" in " ".join(said.split())


def test_a_failed_job_leaves_the_others(finished, tmp_path):
    words = ["-m", "mode=eval", f"checkpoint={finished}", "tracker=none", "attack.eps=4/255,8", "dataset.limit_test=5"]
    done = forked(words, tmp_path)
    assert done.status not in (0, None)
    assert "job 1 failed: attack: eps=8" in done.said
    assert [p.parent.name for p in tmp_path.glob("outputs/*/*/*/robustness.json")] == ["0"]


def test_a_strangers_run_folder_runs_no_code(finished, tmp_path):
    import torch

    for target in (
        "torch.hub.load",
        "torch.utils.cpp_extension.load_inline",
        "advvid.experiment.run.os.system",
        "advvid.core.paths.os.system",
    ):
        state = torch.load(finished / "checkpoints" / "last.pt", weights_only=True)
        state["config"]["defense"] = {"_target_": target, "command": f"touch {tmp_path}/ran"}
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        torch.save(state, tmp_path / "checkpoints" / "last.pt")
        words = ("mode=eval", f"checkpoint={tmp_path}", "tracker=none", f"hydra.run.dir={tmp_path}/out")
        assert target in refused(*words, cwd=tmp_path)
    assert not (tmp_path / "ran").exists()

"""A sweep has one folder, and ``gather`` names the jobs of it that never began."""

import shutil

import pytest
import yaml
from tests.command import run

from advvid.runs.found_runs import find_runs
from advvid.runs.sweep import SUBFOLDER, SWEEPER, jobs, not_begun


def multirun(folder, *told, sweeper=SWEEPER, subdir=SUBFOLDER):
    content = {
        "hydra": {"overrides": {"task": list(told)}, "sweeper": {"_target_": sweeper}, "sweep": {"subdir": subdir}}
    }
    (folder / "multirun.yaml").write_text(yaml.safe_dump(content))


def test_jobs_are_the_combinations_in_hydras_order(tmp_path):
    multirun(tmp_path, "defense=none,at", "schedule.epochs=1", "seed=range(0,2)")
    assert jobs(tmp_path) == ["defense=none seed=0", "defense=none seed=1", "defense=at seed=0", "defense=at seed=1"]
    multirun(tmp_path, "attack.eps=choice(2/255,4/255)", "tracker=[wandb,csv]")
    assert jobs(tmp_path) == ["attack.eps=2/255", "attack.eps=4/255"]


@pytest.mark.parametrize("told", ["seed=range(0,10000000000)", "attack=glob(*)", "seed=interval(0,1)", "seed=(", 3])
def test_jobs_that_cannot_be_told_are_none(tmp_path, told):
    multirun(tmp_path, told)
    assert jobs(tmp_path) == []
    multirun(tmp_path, "seed=0,1", sweeper="optuna")
    assert jobs(tmp_path) == []
    multirun(tmp_path, "seed=0,1", subdir="x")
    assert jobs(tmp_path) == []
    assert jobs(tmp_path / "nowhere") == []


def test_jobs_that_left_nothing_are_named_with_what_they_were_told(tmp_path):
    multirun(tmp_path, "defense=none,at,cat")
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    (tmp_path / "0" / ".hydra" / "overrides.yaml").write_text("- defense=none\n")
    (tmp_path / "1").mkdir()
    assert [(place.name, told) for place, told in not_begun(tmp_path)] == [("1", "defense=at"), ("2", "defense=cat")]
    found = find_runs([tmp_path])
    assert [run.label for run in found] == ["0", "1", "2"]
    assert found[2].problem == "it never began; defense=cat"


def test_a_sweep_over_a_group_lies_in_one_folder(tmp_path):
    words = (
        "-m",
        "defense=none,trades",
        "mode=train",
        "schedule.epochs=1",
        "tracker=none",
        "runtime=cpu",
        "dataset.limit_train=4",
        "dataset.limit_val=4",
    )
    folder = tmp_path / "here"
    folder.mkdir()
    done = run(words, folder)
    assert done.status == 0, done.said
    (sweep,) = (folder / "outputs").glob("*/*")
    assert all((sweep / job / "checkpoints" / "last.pt").is_file() for job in "01")
    assert not list(not_begun(sweep))
    shutil.rmtree(sweep / "1")
    assert [(run.label, run.problem) for run in find_runs([sweep])][1:] == [("1", "it never began; defense=trades")]

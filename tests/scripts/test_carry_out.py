"""What scripts carry out: kept where the command is the same, refused where a training would be taken for another."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import runs
from readme_results import fill

WORDS = ["mode=train", "seed=0"]


@pytest.fixture
def called(monkeypatch):
    """Keep what would be carried out."""
    kept = []

    def carried_out(command, **_):
        kept.append(command)
        return type("Done", (), {"returncode": int("fails" in command)})

    monkeypatch.setattr(runs.subprocess, "run", carried_out)
    return kept


def test_what_is_finished_is_kept(tmp_path, called):
    for threads in (1, 2):
        shown = runs.carry_out(tmp_path / "run", *WORDS, extra=[f"runtime.threads={threads}"])
    assert len(called) == 1
    assert called[0][1:] == [
        "-m",
        "advvid.train",
        *WORDS,
        f"hydra.run.dir={tmp_path / 'run'}",
        "runtime.threads=1",
        "resume=true",
    ]
    assert shown == f"python -m advvid.train mode=train seed=0 hydra.run.dir={tmp_path / 'run'}"


def test_a_training_of_other_words_is_not_taken_for_this_one(tmp_path, called):
    runs.carry_out(tmp_path, *WORDS)
    with pytest.raises(SystemExit, match="holds a run of another command: delete it"):
        runs.carry_out(tmp_path, *WORDS, "schedule.epochs=3")
    assert len(called) == 1


def test_an_evaluation_of_other_words_is_carried_out(tmp_path, called):
    for suite in ("lo", "quick"):
        runs.carry_out(tmp_path, "mode=eval", f"suite={suite}")
    assert len(called) == 2
    assert "suite=quick" in json.loads((tmp_path / "command.json").read_text())


def test_a_failure_says_where_to_look_and_is_tried_again(tmp_path, called):
    for _ in range(2):
        with pytest.raises(SystemExit, match=r"failed, see .*output.txt"):
            runs.carry_out(tmp_path / "run", "fails")
    assert len(called) == 2


def test_what_is_published_elsewhere_leaves_the_readme_alone(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- one: written by it -->\nold\n<!-- end of one -->\n")
    fill("one", "new\n", tmp_path, readme)
    assert "old" in readme.read_text()
    fill("one", "new\n", runs.TOP / "outputs" / "published", readme)
    assert readme.read_text() == "<!-- one: written by it -->\nnew\n<!-- end of one -->\n"

"""One folder, one run: what is there is not mixed with another run, and only what a run wrote is removed."""

import os

import pytest
from omegaconf import OmegaConf

from advvid.core.errors import AdvvidError
from advvid.core.locks import locked
from advvid.core.record import recorded
from advvid.core.run_folder import LOCK, make_room, remove_run

WRITTEN = [
    "metrics.jsonl",
    "checkpoints/last.pt",
    "checkpoints/best.pt",
    "prerequisites/gan/metrics.jsonl",
    "prerequisites/gan/checkpoints/last.pt",
    "prerequisites/examples/000012.pt",
    "robustness.json",
    "robustness.md",
    "samples.jsonl",
    "cells/pgd-0123456789abcdef/000000.npz",
    "attacks/universal.pt",
    "pictures/pgd.png",
    "attack.json",
    "adversarial/Jump/v_Jump_g01.mkv",
    "analysis/strength.json",
    "analysis/strength.cells/a-0/000001.json",
]
OWN = ["notes.txt", "pictures/holiday.jpg", "checkpoints/from_home.pt", "analysis/mine.txt", "adversarial/read.me"]


def told(**values):
    base = {"mode": "train_eval", "resume": False, "overwrite": False, "analysis": None, "checkpoint": None}
    return OmegaConf.create({**base, **values})


def fill(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("sign", WRITTEN)
def test_a_training_does_not_begin_where_a_run_is(tmp_path, sign):
    fill(tmp_path, [sign])
    if sign.startswith(("attacks", "pictures")) or sign == "robustness.md":
        return  # never there alone
    with pytest.raises(AdvvidError, match=r"holds a run already .*resume=true.*overwrite=true.*another hydra.run.dir"):
        make_room(told(), tmp_path)
    make_room(told(resume=True), tmp_path)
    make_room(told(mode="eval"), tmp_path)  # computes what is missing
    assert files(tmp_path) == {sign}


def test_overwrite_removes_what_a_run_wrote_and_nothing_else(tmp_path):
    fill(tmp_path, [*WRITTEN, *OWN])
    make_room(told(overwrite=True), tmp_path)
    assert files(tmp_path) == set(OWN)
    assert not (tmp_path / "prerequisites").exists()


def test_an_evaluation_overwrites_itself_and_leaves_the_training(tmp_path):
    fill(tmp_path, [*WRITTEN, *OWN])
    cfg = told(mode="eval", overwrite=True, checkpoint=str(tmp_path))
    del cfg["analysis"]  # as it is composed where none is chosen
    make_room(cfg, tmp_path)
    left = files(tmp_path)
    assert {"checkpoints/last.pt", "metrics.jsonl", "prerequisites/gan/checkpoints/last.pt", *OWN} <= left
    assert not {"robustness.json", "cells/pgd-0123456789abcdef/000000.npz"} & left


def test_links_are_not_followed(tmp_path):
    fill(tmp_path / "other", WRITTEN)
    (tmp_path / "run").mkdir()
    for name in ("cells", "checkpoints", "metrics.jsonl"):
        (tmp_path / "run" / name).symlink_to(tmp_path / "other" / name)
    remove_run(tmp_path / "run")
    assert files(tmp_path / "other") == set(WRITTEN)
    assert not os.listdir(tmp_path / "run")


@pytest.mark.parametrize("option", ["model", "defense"])
@pytest.mark.parametrize("place", ["", "checkpoints/best.pt"])
def test_what_the_run_needs_is_not_removed(tmp_path, option, place):
    fill(tmp_path, WRITTEN)
    with pytest.raises(AdvvidError, match=rf"would remove what {option}\.checkpoint="):
        make_room(told(overwrite=True, **{option: {"checkpoint": str(tmp_path / place)}}), tmp_path)
    assert files(tmp_path) == set(WRITTEN)


def test_going_on_and_removing_exclude_each_other(tmp_path):
    with pytest.raises(AdvvidError, match="give one of them"):
        make_room(told(overwrite=True, resume=True), tmp_path)


def test_a_refused_command_leaves_the_record_of_the_run_that_lies_there(tmp_path):
    with recorded(tmp_path, {"overrides.yaml": "- first"}):
        fill(tmp_path, ["metrics.jsonl"])
    record = tmp_path / ".hydra" / "overrides.yaml"
    with pytest.raises(AdvvidError), recorded(tmp_path, {"overrides.yaml": "- second"}):
        raise AdvvidError("refused")
    assert record.read_text() == "- first"
    with (
        locked(tmp_path / LOCK, "x"),
        pytest.raises(AdvvidError, match="in use"),
        recorded(tmp_path, {"overrides.yaml": "- second"}),
    ):
        pass
    assert record.read_text() == "- first"

    def fails_later():
        with recorded(tmp_path, {"overrides.yaml": "- third"}):
            fill(tmp_path, ["samples.jsonl"])
            raise AdvvidError("failed later")

    with pytest.raises(AdvvidError, match="later"):
        fails_later()
    assert record.read_text() == "- third"

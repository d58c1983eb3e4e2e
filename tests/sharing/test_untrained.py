"""A network is scored, exported and verified as it comes; a table of Python is told how to come to that."""

import json
import shutil

import pytest
import torch
from tests.sharing import small_export

from advvid.api.runs import carried_out
from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.evaluation.robustness import RobustnessTable
from advvid.evaluation.scores import ColumnScore, Score
from advvid.sharing.export import export
from advvid.sharing.verify import verify


@pytest.fixture(scope="module")
def untrained(run, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("untrained")
    words = [word for word in small_export.words(data) if not word.startswith(("defense=", "schedule.epochs="))]
    weights = f"model.checkpoint={run / 'checkpoints' / 'last.pt'}"
    carried_out([*words, "schedule.epochs=0", "defense=none", weights], folder)
    return folder


def answers(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_a_network_is_scored_with_the_weights_that_it_comes_with(untrained, run):
    own, trained = (checkpoint.load_run(folder / "checkpoints" / "last.pt") for folder in (untrained, run))
    assert own["model"].keys() == trained["model"].keys()
    assert all(torch.equal(value, trained["model"][name]) for name, value in own["model"].items())
    assert [line["clean"] for line in answers(untrained)] == [line["clean"] for line in answers(run)]
    assert not (untrained / "metrics.jsonl").exists()


def test_it_is_exported_and_verified_like_any_run(untrained, data, tmp_path):
    export(untrained, tmp_path / "shared")
    made = verify(tmp_path / "shared", tmp_path / "out", [f"dataset.root={data}"])
    assert made.same
    assert made.attacked == made.of == 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["defense=at"], "AT is a way to train"),
        (["schedule.epochs=1", "defense=ape_gan", "defense.classifier_schedule.epochs=0"], "needs it: choose 1 epoch"),
        (["resume=true", "schedule.epochs=1"], "epochs was 0 and is now 1"),
    ],
)
def test_nothing_trains_from_there(untrained, data, words, said):
    rest = [word for word in small_export.words(data) if not word.startswith(("defense=", "schedule.epochs="))]
    with pytest.raises(AdvvidError, match=said):
        carried_out([*rest, "schedule.epochs=0", "resume=true", *words], untrained)


@pytest.mark.parametrize(
    ("choices", "said"), [({"suite": "quick"}, "eval checkpoint=RUN suite=quick seed=3"), ({}, "suite of your own")]
)
def test_a_table_of_python_is_told_how_to_be_exported(run, choices, said, tmp_path):
    folder = shutil.copytree(
        run, tmp_path / "python"
    )  # its weights lie there, but which network they are of is not told
    table = RobustnessTable(
        n=6, clean=Score(1.0, (0.5, 1)), attacks={"pgd": ColumnScore(0.0, (0, 1))}, seed=3,
        config={"name": "R3D", "choices": {"model": "my_lab.R3D", **choices}, "seed": 3, "suite": {}},
    )  # fmt: skip
    (folder / "robustness.json").write_text(json.dumps(table.plain()))
    with pytest.raises(AdvvidError, match=said) as raised:
        export(folder, tmp_path / "to")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "to").exists()

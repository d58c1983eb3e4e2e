"""The robustness table as a type: what it holds comes back from its file, and it shows itself."""

import dataclasses
import json
import sys

import pytest
from rich.console import Console

from advvid.core.errors import AdvvidError
from advvid.evaluation.check_rules import finding
from advvid.evaluation.robustness import RobustnessTable
from advvid.evaluation.scores import ColumnScore, Score
from advvid.evaluation.table_file import read_table


def table(**changes):
    pgd = ColumnScore(
        0.25,
        (0.1, 0.4),
        {"top5": 0.5},
        1,
        access="white_box",
        threat="LinfBall",
        budget="l-inf 8/255",
        notes=("short",),
        max_distance=0.03,
        violations=0,
        settings={"class": "PGD", "steps": 20},
        seconds=1.5,
        gradient_calls=40,
        measures={"fooling_rate": 0.5},
    )
    whole = RobustnessTable(
        n=8,
        clean=Score(0.75, (0.4, 0.9), {"top5": 1.0}),
        attacks={"pgd": pgd},
        controls={"noise": ColumnScore(0.75, (0.4, 0.9), access="none")},
        extra={"pgd@codec": ColumnScore(0.5, (0.2, 0.8), after="codec")},
        types={"noise": Score(0.25, (0.1, 0.4))},
        mean=Score(0.5, (0.3, 0.7)),
        mean_attacks=Score(0.25, (0.1, 0.4)),
        union=Score(0.25, (0.1, 0.4)),
        missing=("Class/broken",),
        checks=(finding("chance", True, "clean accuracy is low"), finding("idle", False, "pgd moved every clip")),
        identity={"clips": "12ab"},
        config={"name": "a run", "choices": {"defense": "cat"}, "seed": 3},
        seed=3,
        commit="abc",
        versions={"torch": "2.6"},
    )
    return dataclasses.replace(whole, **changes)


def test_a_table_comes_back_from_its_file_as_it_was(tmp_path):
    table().save(tmp_path)
    assert read_table(tmp_path / "robustness.json") == table()
    assert RobustnessTable.of(json.loads((tmp_path / "robustness.json").read_text())) == table()


def test_what_is_not_known_is_not_in_the_file():
    plain = RobustnessTable(n=1, clean=Score(metrics={"mse": 0.1})).plain()
    assert not {"mean", "union", "mean_attacks", "types"} & plain.keys()
    assert plain["clean"] == {"metrics": {"mse": 0.1}}
    assert plain["attacks"] == {}


def test_a_column_is_found_by_name_and_a_wrong_name_is_told():
    assert table()["pgd"].acc == 0.25
    assert table()["union"].acc == 0.25
    assert table()["pgd@codec"].after == "codec"
    with pytest.raises(AdvvidError, match=r"no column 'pgdd': choose from clean, mean, mean_attacks, union, pgd"):
        table()["pgdd"]


def test_it_shows_itself_in_a_terminal_a_notebook_and_as_text():
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table())
    for text in (console.export_text(), str(table()), table().to_markdown(), table()._repr_html_()):
        assert "25.0" in text
        assert "cat" in text
        assert "clean accuracy is low" in text
    assert "<script>" not in table(config={"name": "<script>"})._repr_html_()


def test_records_of_clips_are_saved_with_the_table_where_it_holds_them(tmp_path):
    records = [{"id": "a", "label": 0, "clean": 0, "attacks": {"pgd": {"pred": 1}}}]
    table(samples=records).save(tmp_path / "with")
    assert [json.loads(line) for line in (tmp_path / "with" / "samples.jsonl").read_text().splitlines()] == records
    table().save(tmp_path / "without")
    assert not (tmp_path / "without" / "samples.jsonl").exists()


def test_a_data_frame_has_a_row_per_column(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(AdvvidError, match="needs pandas"):
        table().to_frame()
    monkeypatch.undo()
    pytest.importorskip("pandas")
    frame = table().to_frame()
    assert frame.loc["pgd", "acc"] == 0.25
    assert list(frame.index)[:4] == ["clean", "mean", "mean_attacks", "union"]

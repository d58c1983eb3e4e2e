"""Tables of papers reach the report as they were written, or are refused in words."""

import json

import pytest
from report_folders import check, make_run, paper

from advvid.core.errors import AdvvidError
from advvid.report.joined import read_tables
from advvid.report.notes import Notes
from advvid.report.paper_grid import Runs, claims_grid, paper_grid, uniform, verdict_counts
from advvid.report.runs import run_sections
from advvid.studies.cell import Measured


def read(folder, *entries):
    path = folder / "tables.json"
    path.write_text(json.dumps(list(entries)))
    return read_tables([path])


def texts(grid):
    header = [column.text for column in grid.header]
    return [dict(zip(header, row.cells, strict=True)) for group in grid.groups for row in group.rows]


def test_published_and_measured_stand_in_columns_of_their_own(tmp_path):
    (table,) = read(tmp_path, paper())
    notes = Notes()
    first, second = texts(paper_grid(table, Runs([], notes)))
    assert {name: value.text for name, value in first.items()} == {
        "published": "23.3",
        "measured (demo)": "56.5",
        "difference (demo)": "+33.2",
        "measured (full)": "–",
    }
    assert first["measured (demo)"].interval == "46.7 to 65.7"
    assert first["measured (demo)"].mark.published == 23.3
    assert second["measured (demo)"].text == "–"
    (note,) = notes.all
    assert note.text == "Not measured (demo): the budget is not printed."
    assert second["measured (demo)"].notes == (note.number,)
    assert uniform(table) == "n = 100, seed 0"


def test_two_scales_of_a_table_never_share_a_column(tmp_path):
    full = paper("full", value=21.0)
    full["rows"][0]["cells"]["pgd_eps8"]["measured"] |= {"n": 3783, "seed": [0, 1]}
    (table,) = read(tmp_path, paper(), full)
    row = texts(paper_grid(table, Runs([], Notes())))[0]
    assert (row["measured (full)"].text, row["measured (demo)"].text) == ("21.0", "56.5")
    assert (row["difference (full)"].text, row["difference (demo)"].text) == ("−2.3", "+33.2")
    assert uniform(table) == ""
    assert [value.text for value in paper_grid(table, Runs([], Notes())).groups[0].rows[0].cells].count("3783") == 1
    assert "0, 1" in [value.text for value in paper_grid(table, Runs([], Notes())).groups[0].rows[0].cells]


def test_a_number_leads_to_the_row_of_its_run_and_carries_its_checks(tmp_path):
    raised = check("converged", True, "doubling the steps from pgd to pgd_15 lowers accuracy by 5%")
    make_run(tmp_path / "at", checks=[raised])
    (table,) = read(tmp_path, paper(run="at"))
    assert table.runs == [tmp_path / "at"]
    notes = Notes()
    cell = texts(paper_grid(table, Runs(run_sections([tmp_path]), notes)))[0]["measured (demo)"]
    assert cell.href == "#run-at-pgd"
    assert cell.mark is not None
    assert "doubling the steps" in notes.all[cell.notes[0] - 1].text


@pytest.mark.parametrize(
    ("published", "value", "printed", "written", "apart"),
    [
        (0.031, 0.04567, "0.031", "0.046", "+0.015"),
        (2.65, 20.547, "2.65", "20.5", "+17.9"),
        (21, 17.0, "21.0", "17.0", "−4.0"),
        (None, 0.0456789, "–", "0.0457", "–"),
        (0, 0.5, "0.0", "0.5", "+0.5"),
    ],
)
def test_decimals_are_as_many_as_make_sense(tmp_path, published, value, printed, written, apart):
    (table,) = read(tmp_path, paper(value=value, published=published, units={}))
    row = texts(paper_grid(table, Runs([], Notes())))[0]
    assert [row[name].text for name in ("published", "measured (demo)", "difference (demo)")] == [
        printed,
        written,
        apart,
    ]
    assert row["measured (demo)"].mark is None


def test_an_accuracy_of_the_run_is_drawn(tmp_path):
    """A table that names neither unit nor column leads to the column of the same name, if the run has one."""
    make_run(tmp_path / "at", pgd=0.5)
    entry = paper(run="at", value=50.0, units={}, columns=["pgd"])
    entry["rows"][0]["cells"] = {"pgd": entry["rows"][0]["cells"]["pgd_eps8"] | {"why_missing": None}}
    entry["rows"][0]["cells"]["pgd"]["measured"].pop("column")
    (table,) = read(tmp_path, entry)
    runs = Runs(run_sections([tmp_path]), Notes())
    cell = texts(paper_grid(table, runs))[0]["measured (demo)"]
    assert (cell.href, cell.mark.value) == ("#run-at-pgd", 50.0)
    other = Measured(49.0, run=tmp_path / "at")
    assert not runs.is_accuracy(other, "pgd")


def test_a_value_of_null_is_a_missing_one(tmp_path):
    entry = paper(value=None)
    entry["rows"][0]["cells"]["pgd_eps8"]["why_missing"] = "nothing was fooled"
    notes = Notes()
    (table,) = read(tmp_path, entry)
    assert texts(paper_grid(table, Runs([], notes)))[0]["measured (demo)"].text == "–"
    assert "nothing was fooled" in notes.all[0].text


def test_claims_are_counted_by_scale_and_verdict(tmp_path):
    claims = [
        {"id": "c1", "text": "CAT beats AT", "verdict": "holds", "statistic": 7.53, "ci95": [2.1, 12.9]},
        {"id": "c2", "text": "down is worse", "verdict": "does_not_hold"},
    ]
    (table,) = read(tmp_path, paper(claims=claims))
    assert verdict_counts(table.claims) == {"demo": {"holds": 1, "does not hold": 1, "undecided": 0, "not testable": 0}}
    row = claims_grid(table.claims).groups[0].rows[0]
    assert [value.text for value in row.cells] == ["CAT beats AT", "demo", "holds", "7.53"]
    assert row.cells[-1].interval == "2.1 to 12.9"


def broken(**change):
    return [paper(**change)]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({}, "holds no list of tables"),
        (broken(scale="mini"), "choose full or demo"),
        ([{"id": "t"}], "lacks title"),
        (broken(claims=[{"id": "c", "text": "t", "verdict": "maybe"}]), "verdict 'maybe'"),
        (broken(rows=[{"cells": {}}]), "does not follow the form"),
        ([paper(), paper()], "twice at one scale"),
        ([paper(), paper("full", published=99.0)], "two published numbers for AT, pgd_eps8 (23.3, 99.0)"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, entries, said):
    path = tmp_path / "tables.json"
    path.write_text(json.dumps(entries))
    with pytest.raises(AdvvidError) as error:
        read_tables([path])
    assert said in str(error.value)

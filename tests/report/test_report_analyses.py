"""Analyses come into the report with their figures and the numbers behind them."""

import json

import pytest
from report_folders import add_analysis
from rich.table import Table
from rich.text import Text

from advvid.report.analyses import analysis_sections, rich_grid
from advvid.report.embed import Room


@pytest.fixture
def folder(tmp_path):
    add_analysis(tmp_path)
    return tmp_path


def test_a_figure_comes_with_its_numbers(folder):
    (section,) = analysis_sections(folder, Room(5))
    assert (section.name, section.left_out) == ("strength", "")
    assert section.figures[0].picture.address.startswith("data:image/svg+xml")
    (grid,) = section.grids
    rows = [(row.head, [(value.text, value.interval) for value in row.cells]) for row in grid.groups[0].rows]
    assert rows[-1] == ("8/255", [("l-inf 8/255", ""), ("20.0", "13.3 to 28.9")])
    assert [column.words for column in grid.header] == [True, False]


def test_what_is_bold_in_the_terminal_is_bold_here():
    table = Table("made on", "a", "b")
    table.add_row("a", "[bold]0.0 [0.0, 1.9][/bold]", Text("5.0", style="bold"))
    table.add_row("b", "7.0", "")
    grid = rich_grid(table)
    assert [[value.strong for value in row.cells] for row in grid.groups[0].rows] == [[True, True], [False, False]]
    assert "**0.0** [0.0 to 1.9]" in grid.markdown()


@pytest.mark.parametrize(
    "target", ["os.system", "advvid.attacks.pgd.PGD", "advvid.analyses.strength.Strength.missing", None]
)
def test_a_configuration_that_names_no_analysis_shows_its_figure_only(folder, target):
    path = folder / "analysis" / "strength.json"
    result = json.loads(path.read_text())
    result["config"] = {"analysis": {"_target_": target}} if target else {}
    path.write_text(json.dumps(result))
    (section,) = analysis_sections(folder, Room(5))
    assert section.grids == ()
    assert "cannot be shown here" in section.left_out
    assert len(section.figures) == 1


def test_a_broken_file_is_said(folder):
    (folder / "analysis" / "strength.json").write_text("{")
    assert "cannot be shown here" in analysis_sections(folder, Room(5))[0].left_out

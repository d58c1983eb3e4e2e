"""Analyses of a run for a report: their figures, and their numbers as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Group as RichGroup
from rich.errors import ConsoleError
from rich.table import Table
from rich.text import Text

from advvid.analyses.base import Analysis
from advvid.config.instantiate import safe_instantiate
from advvid.core.errors import AdvvidError
from advvid.core.escape import all_visible
from advvid.core.plain import read_json
from advvid.report.embed import Embedded, Room, figure
from advvid.report.grid import Grid, Group, Header, Row, Value

# What laying out a file raises that an analysis did not write, or that was changed since.
MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ConsoleError,
    LookupError,
    RecursionError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Drawn:
    """A figure with what it shows in words, its file, and the words that stand below it."""

    picture: Embedded
    alt: str
    source: Path
    caption: str = ""


@dataclass(frozen=True)
class AnalysisSection:
    """What a report says of one analysis.

    Args:
        name: of its JSON file.
        figures: that lie beside it.
        grids: its numbers.
        notes: sentences that belong to them.
        left_out: why figures or numbers are missing ("" if they are not).
    """

    name: str
    figures: tuple[Drawn, ...]
    grids: tuple[Grid, ...]
    notes: tuple[str, ...]
    left_out: str = ""


def analysis_sections(folder: Path, room: Room, pictures: bool = True) -> list[AnalysisSection]:
    """Describe every ``analysis/<name>.json`` of a run folder, with or without its pictures."""
    return [_section(source, room, pictures) for source in sorted((folder / "analysis").glob("*.json"))]


def _section(source: Path, room: Room, pictures: bool) -> AnalysisSection:
    name = source.stem
    try:
        result = all_visible(read_json(source, source.name))
        grids, notes = _numbers(result)
        problem = ""
    except (*MALFORMED, AdvvidError) as error:
        said = str(error) if isinstance(error, AdvvidError) else f"it has another form: {type(error).__name__}"
        grids, notes, problem = [], [], f"Its numbers cannot be shown here ({said}); they stand in {source.name}."
    figures = []
    for path in sorted(source.parent.glob(f"{name}*.png")) if pictures else ():
        vector = path.with_suffix(".svg")
        picture = figure(vector if vector.is_file() else path)
        if picture is not None and room.take([picture]):
            what = path.stem.replace("_", " ")
            figures.append(
                Drawn(picture, f"Figure of the analysis {what}" + ("; its numbers follow" if grids else ""), path)
            )
    return AnalysisSection(name, tuple(figures), tuple(grids), tuple(notes), problem)


def _numbers(result: Mapping[str, Any]) -> tuple[list[Grid], list[str]]:
    """Return the tables that the analysis itself makes of its result, and the sentences below them.

    Raises:
        AdvvidError: if the configuration names no analysis.
    """
    analysis = safe_instantiate(result["config"]["analysis"])
    if not isinstance(analysis, Analysis):
        raise AdvvidError("its configuration names no analysis")
    grids, notes = [], []
    for part in _parts(analysis.table(result)):
        if isinstance(part, Table):
            grids.append(rich_grid(part))
        elif text := (part.plain if isinstance(part, Text) else str(part)).strip():
            notes.append(text)
    return grids, notes


def _parts(renderable: Any) -> Iterator[Any]:
    if isinstance(renderable, RichGroup):
        for part in renderable.renderables:
            yield from _parts(part)
    elif renderable is not None:
        yield renderable


def rich_grid(table: Table) -> Grid:
    """Return a table of the terminal as a grid; its first column holds the rows' headings.

    Example:
        >>> table = Table("eps", "none", title="Strength")
        >>> table.add_row("8/255", "12.0 [8.0, 17.5]")
        >>> rich_grid(table).groups[0].rows[0].cells[0].interval
        '8.0 to 17.5'
    """
    columns = [[_value(cell) for cell in column.cells] for column in table.columns]
    header = [Header(_plain(column.header)) for column in table.columns]
    words = [not all(value.text[:1] in "0123456789+-–." for value in column if value.text) for column in columns]
    lines = zip(*([replace(v, words=w) for v in column] for column, w in zip(columns, words, strict=True)), strict=True)
    return Grid(
        _plain(table.title or ""),
        header[0].text,
        tuple(replace(head, words=w) for head, w in zip(header[1:], words[1:], strict=True)),
        (Group(tuple(Row(line[0].text, line[1:]) for line in lines)),),
    )


def _plain(cell: Any) -> str:
    return cell.plain if isinstance(cell, Text) else Text.from_markup(str(cell)).plain


def _value(cell: Any) -> Value:
    """Split a cell such as ``51.3 [44.4, 58.1]`` into number and interval; bold words stay so."""
    text = _plain(cell)
    said = cell if isinstance(cell, Text) else Text.from_markup(str(cell))
    strong = any("bold" in str(style) for style in (said.style, *(span.style for span in said.spans)))
    value, bracket, interval = text.partition(" [")
    if bracket and interval.endswith("]") and interval.count(",") == 1:
        return Value(value, interval[:-1].replace(", ", " to "), strong=strong)
    return Value(text, strong=strong)

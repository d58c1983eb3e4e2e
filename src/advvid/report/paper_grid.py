"""A paper's table with its published numbers, and those measured at each scale, in columns of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from advvid.report.grid import NOTHING, Grid, Group, Header, Mark, Row, Value, number, signed
from advvid.report.joined import JoinedTable
from advvid.report.notes import Notes
from advvid.report.runs import RunSection, footnotes
from advvid.studies.cell import Cell, Measured
from advvid.studies.plan import SCALES
from advvid.studies.table import Verdict

WORDS = {
    "holds": ("holds", "good"),
    "does_not_hold": ("does not hold", "bad"),
    "undecided": ("undecided", ""),
    "not_testable": ("not testable", ""),
}


class Runs:
    """The sections of a report by run folder, so that numbers lead to them.

    Args:
        sections: of the report.
        notes: to which raised checks are added.
    """

    def __init__(self, sections: Sequence[RunSection], notes: Notes) -> None:
        self.notes = notes
        self._by_path = {section.found.path.resolve(): section for section in sections}

    def section(self, found: Measured) -> RunSection | None:
        """Return the section of the run that gave a number; None for one that is not in the report."""
        return self._by_path.get(found.run.resolve()) if found.run is not None else None

    def place(self, found: Measured, column: str) -> tuple[str, tuple[int, ...]]:
        """Return where a number of a column leads, and the footnotes of its run's raised checks; "" for no run."""
        section = self.section(found)
        if section is None:
            return "", ()
        name, marks = found.column or column, footnotes(section, self.notes)
        return section.column(name), (*marks.get(name, ()), *marks.get("", ()))

    def is_accuracy(self, found: Measured, column: str) -> bool:
        """Whether a number is the accuracy of its run's column, in percent."""
        section = self.section(found)
        table = section.found.result if section else None
        score = table.scores.get(found.column or column) if table else None
        return score is not None and score.acc is not None and abs(100 * score.acc - found.value) < 1e-6


def paper_grid(table: JoinedTable, runs: Runs) -> Grid:
    """Lay out a table: a row per number of the paper, in groups by the paper's rows.

    The two scales have columns of their own, whether or not anything was measured there; n and seed stand in
    columns only where they differ between the cells.

    Example:
        >>> cell = Cell(61.1, Measured(98.5, (95.7, 99.5), 200, (0,)))
        >>> table = JoinedTable({"demo": StudyTable("t", "demo", ("clean",), {"CAT": {"clean": cell}}, units={"clean": "%"})})
        >>> [value.text for value in paper_grid(table, Runs([], Notes())).groups[0].rows[0].cells]
        ['61.1', '98.5', '+37.4', '–']
    """
    several = len(_common(table)) > 1
    header = [Header("published")]
    for scale in _order(table):
        header.append(Header(f"measured ({scale})"))
        header += [Header(f"difference ({scale})")] if scale in table.scales else []
        header += [Header("n"), Header("seed")] if several and scale in table.scales else []
    groups = tuple(
        Group(tuple(_row(table, (row, column), runs, several) for column in columns), row)
        for row, columns in table.places.items()
    )
    return Grid("", "column", tuple(header), groups)


def _order(table: JoinedTable) -> list[str]:
    """The scales, first those at which the table was made: on a narrow screen the first columns are seen."""
    return sorted(SCALES, key=lambda scale: scale not in table.scales)


def uniform(table: JoinedTable) -> str:
    """Say n and seed where all numbers share them, "" otherwise."""
    common = _common(table)
    if len(common) != 1:
        return ""
    ((n, seed),) = common
    return ", ".join(part for part in (f"n = {n}" if n is not None else "", f"seed {seed}" if seed else "") if part)


def _common(table: JoinedTable) -> set[tuple[int | None, str]]:
    cells = [cell for one in table.scales.values() for _, _, cell in one.cells]
    return {(cell.measured.n, cell.measured.seed) for cell in cells if cell.measured is not None}


def _row(table: JoinedTable, place: tuple[str, str], runs: Runs, several: bool) -> Row:
    column, printed, cells = place[1], table.published(*place), table.cells(*place)
    unit = table.unit(column)
    spread = "" if printed.spread is None else f" ± {number(printed.spread)}"
    values = [Value(_printed(printed.published) + spread)]
    for scale in _order(table):
        cell = cells.get(scale, Cell())
        found = cell.measured
        if found is None:
            values.append(_missing(cell, scale, runs))
        else:
            values.append(_value(found, printed.published, (column, unit), runs))
        if scale in table.scales:
            values.append(Value(_difference(printed.published, found)))
            if several:
                values.append(Value(NOTHING if found is None or found.n is None else str(found.n)))
                values.append(Value(found.seed if found is not None and found.seed else NOTHING))
    return Row(column if unit in ("%", "") else f"{column} ({unit})", tuple(values))


def _missing(cell: Cell, scale: str, runs: Runs) -> Value:
    why = cell.why_missing.rstrip(".")
    return Value(NOTHING, notes=(runs.notes.add(f"Not measured ({scale}): {why}."),) if why else ())


def _value(found: Measured, published: float | None, column: tuple[str, str], runs: Runs) -> Value:
    """Write a number, and draw it where ``column``, a name and a unit, is one of accuracies."""
    name, unit = column
    href, notes = runs.place(found, name)
    text, ends = _written(found.value, published), found.range or found.ci95
    if ends is None:
        return Value(text, "", href, notes)
    drawn = unit == "%" or runs.is_accuracy(found, name)
    said = " to ".join(_written(end, published) for end in ends)
    if found.range is not None:
        notes = (*notes, runs.notes.add("Mean over the seeds, with the lowest and the highest of them."))
    mark = Mark(found.value, max(ends[0], 0), min(ends[1], 100), published) if drawn else None
    return Value(text, said, href, notes, mark)


def _difference(published: float | None, found: Measured | None) -> str:
    """Write measured minus published with its sign, in points for percentages."""
    if published is None or found is None:
        return NOTHING
    return signed(_written(found.value - published, published))


def _printed(published: float | None) -> str:
    """Write a published number as it was printed, with one decimal where it has none."""
    text = NOTHING if published is None else number(published)
    return text if published is None or "." in text else f"{published:.1f}"


def _written(value: float, published: float | None) -> str:
    """Write a measured number with one decimal, which is more than its clips tell, or below 1 with the published ones."""
    if published is None:
        return f"{value:.1f}" if abs(value) >= 1 or value == 0 else number(value, 3)
    decimals = 1 if abs(published) >= 1 else len(number(published).partition(".")[2])
    return f"{value:.{min(4, max(1, decimals))}f}"


def claims_grid(claims: Sequence[Verdict]) -> Grid:
    """A row per claim and scale, with the verdict in words."""
    header = (
        Header("claim", words=True),
        Header("scale", words=True),
        Header("verdict", words=True),
        Header("statistic"),
    )
    rows = tuple(
        Row(
            claim.id,
            (
                Value(claim.text, words=True),
                Value(claim.scale, words=True),
                Value(WORDS[claim.verdict][0], words=True, tone=WORDS[claim.verdict][1]),
                Value(_statistic(claim.statistic), "" if claim.ci95 is None else " to ".join(map(number, claim.ci95))),
            ),
        )
        for claim in claims
    )
    return Grid("", "id", header, (Group(rows),))


def _statistic(given: float | str | None) -> str:
    return NOTHING if given in (None, "") else f"{given:.4g}" if isinstance(given, int | float) else str(given)


def verdict_counts(claims: Sequence[Verdict]) -> Mapping[str, Mapping[str, int]]:
    """Count the verdicts by scale, in words; a statement that belongs to several tables is one."""
    claims = list({(claim.id, claim.scale): claim for claim in claims}.values())
    return {
        scale: {words: sum(c.scale == scale and c.verdict == key for c in claims) for key, (words, _) in WORDS.items()}
        for scale in SCALES
        if any(claim.scale == scale for claim in claims)
    }


def runs_of(tables: Sequence[JoinedTable]) -> list[Path]:
    """Return the run folders that tables name and that exist, each once."""
    return list(dict.fromkeys(path for table in tables for path in table.runs if path.is_dir()))

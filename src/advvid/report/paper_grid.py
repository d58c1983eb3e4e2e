"""A paper's table with its published numbers, and those measured at each scale, in columns of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from advvid.report.grid import NOTHING, Grid, Group, Header, Mark, Row, Value, number, signed
from advvid.report.notes import Notes
from advvid.report.runs import RunSection, footnotes
from advvid.report.study_tables import SCALES, Cell, Claim, Measured, PaperTable

WORDS = {"holds": ("holds", "good"), "does_not_hold": ("does not hold", "bad"), "undecided": ("undecided", "")}


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


def paper_grid(table: PaperTable, runs: Runs) -> Grid:
    """Lay out a table: a row per number of the paper, in groups by the paper's rows.

    The two scales have columns of their own, whether or not anything was measured there; n and seed stand in
    columns only where they differ between the cells.

    Example:
        >>> cell = Cell(61.1, {"demo": Measured(98.5, (95.7, 99.5), 200, "0")})
        >>> table = PaperTable("t", "T", "P", ("clean",), {"clean": "%"}, {"CAT": {"clean": cell}}, {"demo": {}})
        >>> [value.text for value in paper_grid(table, Runs([], Notes())).groups[0].rows[0].cells]
        ['61.1', '98.5', '+37.4', '–']
    """
    cells = [cell for row in table.rows.values() for cell in row.values()]
    several = len(_common(cells)) > 1
    header = [Header("published")]
    for scale in _order(table):
        header.append(Header(f"measured ({scale})"))
        header += [Header(f"difference ({scale})")] if scale in table.told else []
        header += [Header("n"), Header("seed")] if several and scale in table.told else []
    groups = tuple(
        Group(tuple(_row(table, column, cell, runs, several) for column, cell in row.items()), name)
        for name, row in table.rows.items()
    )
    return Grid("", "column", tuple(header), groups)


def _order(table: PaperTable) -> list[str]:
    """The scales, first those at which the table was made: on a narrow screen the first columns are seen."""
    return sorted(SCALES, key=lambda scale: scale not in table.told)


def uniform(table: PaperTable) -> str:
    """Say n and seed where all numbers share them, "" otherwise."""
    common = _common([cell for row in table.rows.values() for cell in row.values()])
    if len(common) != 1:
        return ""
    ((n, seed),) = common
    return ", ".join(part for part in (f"n = {n}" if n is not None else "", f"seed {seed}" if seed else "") if part)


def _common(cells: Sequence[Cell]) -> set[tuple[int | None, str]]:
    return {(found.n, found.seed) for cell in cells for found in cell.measured.values()}


def _row(table: PaperTable, column: str, cell: Cell, runs: Runs, several: bool) -> Row:
    unit = table.units[column]
    spread = "" if cell.spread is None else f" ± {number(cell.spread)}"
    values = [Value(_printed(cell.published) + spread)]
    for scale in _order(table):
        found = cell.measured.get(scale)
        values.append(_value(cell, scale, column, unit, runs))
        if scale in table.told:
            values.append(Value(_difference(cell.published, found)))
            if several:
                values.append(Value(NOTHING if found is None or found.n is None else str(found.n)))
                values.append(Value(found.seed if found is not None and found.seed else NOTHING))
    return Row(column if unit in ("%", "") else f"{column} ({unit})", tuple(values))


def _value(cell: Cell, scale: str, column: str, unit: str, runs: Runs) -> Value:
    found = cell.measured.get(scale)
    if found is None:
        why = cell.missing.get(scale)
        return Value(NOTHING, notes=(runs.notes.add(f"Not measured ({scale}): {why.rstrip('.')}."),) if why else ())
    href, notes = runs.place(found, column)
    text = _written(found.value, cell.published)
    if found.ci95 is None:
        return Value(text, "", href, notes)
    low, high = found.ci95
    drawn = unit == "%" or runs.is_accuracy(found, column)
    said = " to ".join(_written(end, cell.published) for end in found.ci95)
    mark = Mark(found.value, max(low, 0), min(high, 100), cell.published) if drawn else None
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


def claims_grid(claims: Sequence[Claim]) -> Grid:
    """A row per claim and scale, with the verdict in words."""
    header = (
        Header("claim", words=True), Header("scale", words=True), Header("verdict", words=True), Header("statistic"),
    )  # fmt: skip
    rows = tuple(
        Row(
            claim.id,
            (
                Value(claim.text, words=True), Value(claim.scale, words=True),
                Value(WORDS[claim.verdict][0], words=True, tone=WORDS[claim.verdict][1]),
                Value(claim.statistic or NOTHING, "" if claim.ci95 is None else " to ".join(map(number, claim.ci95))),
            ),
        )
        for claim in claims
    )  # fmt: skip
    return Grid("", "id", header, (Group(rows),))


def verdict_counts(claims: Sequence[Claim]) -> Mapping[str, Mapping[str, int]]:
    """Count the verdicts by scale, in words; a statement that belongs to several tables is one."""
    claims = list({(claim.id, claim.scale): claim for claim in claims}.values())
    return {
        scale: {words: sum(c.scale == scale and c.verdict == key for c in claims) for key, (words, _) in WORDS.items()}
        for scale in SCALES
        if any(claim.scale == scale for claim in claims)
    }


def runs_of(tables: Sequence[PaperTable]) -> list[Path]:
    """Return the run folders that tables name and that exist, each once."""
    return list(dict.fromkeys(path for table in tables for path in table.runs if path.is_dir()))

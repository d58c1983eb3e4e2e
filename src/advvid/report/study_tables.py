"""The tables of papers that a report sets beside measured numbers, and the JSON file that describes them.

``python -m advvid.report --tables tables.json`` reads a list of objects, one per table and scale::

    [{
      "id": "kinfu-table2",             short and stable; the same table at the other scale has the same id
      "title": "Curricula against a fixed budget",
      "paper": "Kinfu and Vidal 2022",
      "source": "Table 2",              optional: where the paper has it
      "dataset": "embedded motion data, 32 x 32",     what was measured on, at this scale
      "scale": "demo",                  or "full"; the two never share a column
      "caption": "What a reader must know, in a sentence or two.",
      "columns": ["clean", "pgd_eps4"],               as in the paper, in its order
      "units": {"pgd_eps4": "%"},       optional, any short text; "%" also draws each number on a bar from 0 to 100, as is
                                        done for every number that is an accuracy of its run
      "rows": [{"name": "CAT, eps 0 to 12", "cells": {
        "clean": {
          "published": 61.1,            a number or null; its spread may stand beside it as "published_spread"
          "measured": {"value": 98.3, "ci95": [95.1, 99.5], "n": 100, "seed": 0,      or null
                       "run": "outputs/papers/demo/ab12", "column": "clean"},
          "why_missing": null           a text where "measured" is null
        }, "pgd_eps4": {...}}}],
      "claims": [{"id": "kinfu-c3", "text": "CAT beats AT at every budget", "verdict": "holds",
                  "statistic": 7.5, "ci95": [2.1, 12.9]}],
      "figures": ["table2.svg"],        files (svg, png, webp, gif), or {"path": ..., "alt": "which of several it is"}
      "analyses": [{"folder": "outputs/papers/demo/ab12/scores/cd34"}],      optional: the runs behind the figures
      "command": "make kinfu-table2 SCALE=demo",
      "seconds": 840.0                  optional: what all its runs cost
    }]

Published and measured numbers of a column are in one unit, the paper's, so that accuracies stand here as 61.1 and not as
0.611. ``ci95``, ``n``, ``seed`` and ``column`` (of the run's own table, where it is called otherwise than here) may be null
or left out; ``seed`` may be a list. A ``value`` of null counts as missing. ``verdict`` is holds, does_not_hold or
undecided. Paths are taken from the working directory or from the folder of the JSON file. Runs that exist join the report,
so that numbers lead to them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from advvid.core.errors import AdvvidError
from advvid.report.sources import duration

SCALES = ("full", "demo")
VERDICTS = ("holds", "does_not_hold", "undecided")
NEEDED = ("id", "title", "paper", "dataset", "scale", "columns", "rows")


@dataclass(frozen=True)
class Measured:
    """A number that a run gave, in the unit of its column; ``run`` is the folder, ``column`` the run's own column."""

    value: float
    ci95: tuple[float, float] | None = None
    n: int | None = None
    seed: str = ""
    run: Path | None = None
    column: str = ""


@dataclass(frozen=True)
class Cell:
    """What a paper printed, and by scale what was measured or why nothing was."""

    published: float | None
    measured: Mapping[str, Measured] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    spread: float | None = None


@dataclass(frozen=True)
class Claim:
    """A statement of a paper with the verdict at one scale."""

    id: str
    text: str
    verdict: str
    scale: str
    statistic: str = ""
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True)
class PaperFigure:
    """A picture that belongs to a table; ``caption`` says which of several it is."""

    path: Path
    alt: str
    scale: str
    caption: str = ""


@dataclass(frozen=True)
class PaperTable:
    """One table of a paper at one or both scales; ``told`` holds data set, caption, command and cost by scale.

    ``analyses`` are the run folders behind the figures.
    """

    id: str
    title: str
    paper: str
    columns: tuple[str, ...]
    units: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Cell]]
    told: Mapping[str, Mapping[str, str]]
    claims: tuple[Claim, ...] = ()
    figures: tuple[PaperFigure, ...] = ()
    analyses: tuple[Path, ...] = ()

    @property
    def runs(self) -> list[Path]:
        """The run folders that cells and figures come from, each once."""
        cells = (cell for row in self.rows.values() for cell in row.values())
        paths = (found.run for cell in cells for found in cell.measured.values())
        return list(dict.fromkeys([*(path for path in paths if path is not None), *self.analyses]))


def read_tables(sources: Sequence[Path]) -> list[PaperTable]:
    """Read tables from JSON files; those of one id become one table with both scales.

    Raises:
        AdvvidError: for a file that cannot be read or does not follow the form of this module.

    Example:
        >>> read_tables([])
        []
    """
    tables: dict[str, PaperTable] = {}
    for source in sources:
        try:
            content = json.loads(source.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise AdvvidError(
                f"--tables {source} cannot be read ({error}): give a JSON file with a list of tables"
            ) from None
        if not isinstance(content, list):
            raise AdvvidError(f"--tables {source} holds no list of tables: see advvid.report.study_tables for its form")
        for entry in content:
            table = _table(entry, source)
            tables[table.id] = _joined(tables[table.id], table) if table.id in tables else table
    return list(tables.values())


def _table(entry: Any, source: Path) -> PaperTable:
    name = entry.get("id", "without an id") if isinstance(entry, dict) else "that is no object"
    absent = [key for key in NEEDED if not isinstance(entry, dict) or key not in entry]
    if absent:
        raise AdvvidError(
            f"{source}: the table {name} lacks {', '.join(absent)}: see advvid.report.study_tables for its form"
        )
    scale = entry["scale"]
    if scale not in SCALES:
        raise AdvvidError(f"{source}: the table {name} has scale {scale!r}: choose full or demo")
    columns = tuple(map(str, entry["columns"]))
    try:
        rows = {
            str(row["name"]): {column: _cell(row["cells"].get(column) or {}, scale, source) for column in columns}
            for row in entry["rows"]
        }
        claims = tuple(_claim(claim, scale) for claim in entry.get("claims") or ())
        figures = tuple(_figure(given, scale, source, entry["title"]) for given in entry.get("figures") or ())
        analyses = tuple(located(found["folder"], source) for found in entry.get("analyses") or ())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AdvvidError(
            f"{source}: the table {name} does not follow the form of advvid.report.study_tables ({type(error).__name__}: {error})"
        ) from None
    told = {key: str(entry.get(key) or "") for key in ("dataset", "caption", "command")}
    told["cost"] = duration(float(entry["seconds"])) if entry.get("seconds") else ""
    units = {column: str((entry.get("units") or {}).get(column, "")) for column in columns}
    paper = ", ".join(filter(None, (entry["paper"], entry.get("source"))))
    return PaperTable(name, entry["title"], paper, columns, units, rows, {scale: told}, claims, figures, analyses)


def _cell(entry: Mapping[str, Any], scale: str, source: Path) -> Cell:
    published, measured = entry.get("published"), entry.get("measured")
    number = None if published is None else float(published)
    spread = None if entry.get("published_spread") is None else float(entry["published_spread"])
    if measured is None or measured["value"] is None:
        return Cell(number, {}, {scale: str(entry["why_missing"])} if entry.get("why_missing") else {}, spread)
    seed = measured.get("seed")
    found = Measured(
        float(measured["value"]), _interval(measured.get("ci95")), measured.get("n"),
        "" if seed is None else ", ".join(map(str, seed)) if isinstance(seed, list) else str(seed),
        located(measured["run"], source) if measured.get("run") else None, str(measured.get("column") or ""),
    )  # fmt: skip
    return Cell(number, {scale: found}, {}, spread)


def _claim(entry: Mapping[str, Any], scale: str) -> Claim:
    if entry["verdict"] not in VERDICTS:
        raise ValueError(f"verdict {entry['verdict']!r} of the claim {entry['id']}: choose {', '.join(VERDICTS)}")
    statistic = entry.get("statistic")
    said = "" if statistic is None else f"{statistic:.4g}" if isinstance(statistic, int | float) else str(statistic)
    return Claim(str(entry["id"]), str(entry["text"]), entry["verdict"], scale, said, _interval(entry.get("ci95")))


def _figure(entry: Any, scale: str, source: Path, title: str) -> PaperFigure:
    path = located(entry["path"] if isinstance(entry, dict) else entry, source)
    said = entry.get("alt") if isinstance(entry, dict) else None
    return PaperFigure(path, f"{title}: {said}" if said else f"Figure of {title}", scale, said or "")


def _interval(ends: Any) -> tuple[float, float] | None:
    if ends is None:
        return None
    low, high = map(float, ends)
    return low, high


def located(path: str, source: Path) -> Path:
    """Return a path of a JSON file: from the working directory if it exists there, else from the file's folder."""
    direct = Path(path)
    return direct if direct.exists() else source.parent / direct


def _joined(one: PaperTable, other: PaperTable) -> PaperTable:
    """Put two scales of a table side by side; rows and columns are those of either.

    Raises:
        AdvvidError: if both are of one scale, or disagree on what was published.
    """
    if set(one.told) & set(other.told):
        raise AdvvidError(f"the table {one.id} is given twice at one scale: leave one out")
    columns = tuple(dict.fromkeys((*one.columns, *other.columns)))
    rows = {
        name: {column: _both(one, other, name, column) for column in columns}
        for name in dict.fromkeys((*one.rows, *other.rows))
    }
    return replace(
        one, columns=columns, units={**other.units, **one.units}, rows=rows, told={**one.told, **other.told},
        claims=one.claims + other.claims, figures=one.figures + other.figures, analyses=one.analyses + other.analyses,
    )  # fmt: skip


def _both(one: PaperTable, other: PaperTable, row: str, column: str) -> Cell:
    first, second = (table.rows.get(row, {}).get(column, Cell(None)) for table in (one, other))
    printed = {cell.published for cell in (first, second) if cell.published is not None}
    if len(printed) > 1:
        raise AdvvidError(
            f"the table {one.id} has two published numbers for {row}, {column} ({', '.join(map(str, sorted(printed)))}): "
            "correct the one that the paper does not print"
        )
    return Cell(
        printed.pop() if printed else None,
        {**first.measured, **second.measured},
        {**first.missing, **second.missing},
        first.spread if first.spread is not None else second.spread,
    )

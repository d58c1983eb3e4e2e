"""A table of a study at one scale, and the JSON that describes it, which the report reads too.

``papers.json`` and ``studies.json`` hold a list of objects, one per table and scale::

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
or left out; ``seed`` may be a list: the number is then the mean, and ``range`` the lowest and highest. A ``value`` of null
counts as missing. ``verdict`` is holds, does_not_hold, undecided or not_testable. Paths are taken from the working directory or from the
folder of the JSON file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from advvid.core.errors import AdvvidError
from advvid.studies.cell import Cell, Interval, interval
from advvid.studies.plan import SCALES

VERDICTS = ("holds", "does_not_hold", "undecided", "not_testable")
NEEDED = ("id", "title", "paper", "dataset", "scale", "columns", "rows")


@dataclass(frozen=True)
class Verdict:
    """A statement of a paper with the verdict at one scale."""

    id: str
    text: str
    verdict: str
    scale: str
    statistic: float | str | None = None
    ci95: Interval | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as it stands in a file."""
        ends = list(self.ci95) if self.ci95 else None
        return {"id": self.id, "text": self.text, "verdict": self.verdict, "statistic": self.statistic, "ci95": ends}


@dataclass(frozen=True)
class Figure:
    """A picture that belongs to a table; ``alt`` says which of several it is, ``name`` is that of its copy."""

    path: Path
    alt: str = ""
    name: str = ""


@dataclass(frozen=True)
class Analysis:
    """An evaluation behind the figures."""

    folder: Path
    run: str = ""
    score: str = ""


@dataclass(frozen=True)
class StudyTable:
    """One table of a study at one scale; see the head of this module for its file.

    Example:
        >>> table = StudyTable("kinfu-table2", "demo", ("clean",), {"CAT": {"clean": Cell(61.1)}})
        >>> table.counted
        (0, 1)
    """

    id: str
    scale: str
    columns: tuple[str, ...] = ()
    rows: Mapping[str, Mapping[str, Cell]] = field(default_factory=dict)
    title: str = ""
    paper: str = ""
    dataset: str = ""
    units: Mapping[str, str] = field(default_factory=dict)
    caption: str = ""
    claims: tuple[Verdict, ...] = ()
    figures: tuple[Figure, ...] = ()
    analyses: tuple[Analysis, ...] = ()
    problems: tuple[str, ...] = ()
    seconds: float | None = None
    command: str = ""

    @property
    def cells(self) -> Iterator[tuple[str, str, Cell]]:
        """Row, column and cell of each number."""
        return ((name, column, cell) for name, row in self.rows.items() for column, cell in row.items())

    @property
    def counted(self) -> tuple[int, int]:
        """How many cells are measured, and how many there are."""
        found = [cell.measured is not None for _, _, cell in self.cells]
        return sum(found), len(found)

    @property
    def runs(self) -> list[Path]:
        """The run folders that cells and figures come from, each once."""
        paths = (cell.measured.run for _, _, cell in self.cells if cell.measured and cell.measured.run)
        return list(dict.fromkeys([*paths, *(found.folder for found in self.analyses)]))

    @classmethod
    def from_json(cls, node: Any, source: Path = Path()) -> StudyTable:
        """Read a table; ``source`` is the file that it stands in, for what is said of it.

        Raises:
            AdvvidError: if it does not follow the form of this module.
        """
        name = node.get("id", "without an id") if isinstance(node, dict) else "that is no object"
        absent = [key for key in NEEDED if not isinstance(node, dict) or key not in node]
        if absent:
            raise AdvvidError(
                f"{source}: the table {name} lacks {', '.join(absent)}: see advvid.studies.table for its form"
            )
        scale = node["scale"]
        if scale not in SCALES:
            raise AdvvidError(f"{source}: the table {name} has scale {scale!r}: choose full or demo")
        columns = tuple(map(str, node["columns"]))
        try:
            return cls(
                id=name,
                scale=scale,
                columns=columns,
                title=node["title"],
                dataset=str(node["dataset"] or ""),
                rows={
                    str(row["name"]): {c: Cell.from_json(row["cells"].get(c) or {}) for c in columns}
                    for row in node["rows"]
                },
                paper=", ".join(filter(None, (node["paper"], node.get("source")))),
                units={str(column): str(unit) for column, unit in (node.get("units") or {}).items()},
                caption=str(node.get("caption") or ""),
                command=str(node.get("command") or ""),
                claims=tuple(_verdict(claim, scale) for claim in node.get("claims") or ()),
                figures=tuple(_figure(given) for given in node.get("figures") or ()),
                analyses=tuple(
                    Analysis(Path(a["folder"]), a.get("run", ""), a.get("score", ""))
                    for a in node.get("analyses") or ()
                ),
                problems=tuple(node.get("problems") or ()),
                seconds=node.get("seconds"),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AdvvidError(
                f"{source}: the table {name} does not follow the form of advvid.studies.table ({type(error).__name__}: {error})"
            ) from None

    def to_json(self) -> dict[str, Any]:
        """Return the table as it stands in a file."""
        rows = [
            {"name": name, "cells": {c: cell.to_json() for c, cell in row.items()}} for name, row in self.rows.items()
        ]
        return {
            "id": self.id,
            "title": self.title,
            "paper": self.paper,
            "scale": self.scale,
            "dataset": self.dataset,
            "units": dict(self.units),
            "caption": self.caption,
            "columns": list(self.columns),
            "rows": rows,
            "claims": [claim.to_json() for claim in self.claims],
            "figures": [
                {"path": figure.path.as_posix(), "alt": figure.alt, "name": figure.name} for figure in self.figures
            ],
            "analyses": [
                {"run": found.run, "score": found.score, "folder": str(found.folder)} for found in self.analyses
            ],
            "problems": list(self.problems),
            "seconds": self.seconds,
            "command": self.command,
        }

    def located(self, source: Path) -> StudyTable:
        """Return the table with its paths from the working directory if they exist there, else from the file's folder."""

        def at(path: Path) -> Path:
            return path if path.exists() else source.parent / path

        def placed(cell: Cell) -> Cell:
            found = cell.measured
            return replace(cell, measured=replace(found, run=at(found.run))) if found and found.run else cell

        rows = {name: {column: placed(cell) for column, cell in row.items()} for name, row in self.rows.items()}
        figures = tuple(replace(figure, path=at(figure.path)) for figure in self.figures)
        analyses = tuple(replace(found, folder=at(found.folder)) for found in self.analyses)
        return replace(self, rows=rows, figures=figures, analyses=analyses)


def _verdict(node: Mapping[str, Any], scale: str) -> Verdict:
    if node["verdict"] not in VERDICTS:
        raise ValueError(f"verdict {node['verdict']!r} of the claim {node['id']}: choose {', '.join(VERDICTS)}")
    return Verdict(
        str(node["id"]), str(node["text"]), node["verdict"], scale, node.get("statistic"), interval(node.get("ci95"))
    )


def _figure(node: Any) -> Figure:
    return (
        Figure(Path(node["path"]), node.get("alt") or "", node.get("name", ""))
        if isinstance(node, dict)
        else Figure(Path(node))
    )

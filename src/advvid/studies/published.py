"""The numbers that the papers print, read from ``published/<paper>.yaml``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from advvid.core.errors import AdvvidError

FOLDER = Path(__file__).resolve().parent / "published"
PLUS_MINUS = "±"


@dataclass(frozen=True)
class Printed:
    """A number as a paper prints it.

    Args:
        value: the number, mostly in percent.
        spread: the half width or deviation printed behind it; None where there is none.
    """

    value: float
    spread: float | None = None


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper.

    Args:
        id: its name here, such as ``kinfu-table2``.
        paper: its file's stem.
        source: where the paper has it.
        title: what it is about.
        data: the data sets behind it.
        columns: in the paper's order.
        rows: by name; None where a cell is empty.
        note: what is odd about its numbers; "" if nothing is.
        authors: of the paper.
    """

    id: str
    paper: str
    source: str
    title: str
    data: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Printed | None]]
    note: str = ""
    authors: str = ""

    def cell(self, row: str, column: str) -> Printed | None:
        """Return a number of the table; None where it prints none.

        Raises:
            AdvvidError: if it has no such row or column.
        """
        if row not in self.rows or column not in self.columns:
            raise AdvvidError(f"{self.id} has no cell {row}, {column}: its rows are {', '.join(self.rows)}")
        return self.rows[row][column]


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; with the C loader where there is one, which is ten times as fast."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), loader)


def authors_of(paper: str) -> str:
    """Return who wrote a paper, by its file's stem."""
    return next(table.authors for table in published_tables().values() if table.paper == paper)


@cache
def published_tables() -> Mapping[str, PublishedTable]:
    """Return every table of every paper, by name.

    Raises:
        AdvvidError: if a file does not hold what it should.

    Example:
        >>> published_tables()["kinfu-table2"].cell("cat", "pgd_8")
        Printed(value=29.2, spread=None)
    """
    return {table.id: table for path in sorted(FOLDER.glob("*.yaml")) for table in _read(path)}


def _read(path: Path) -> Iterator[PublishedTable]:
    content = read_yaml(path)
    for name, table in content["tables"].items():
        columns = tuple(map(str, table["columns"]))
        rows = {}
        for row, cells in table["rows"].items():
            if len(cells) != len(columns):
                raise AdvvidError(f"{path.name}: {name}, row {row} has {len(cells)} cells for {len(columns)} columns")
            rows[str(row)] = dict(zip(columns, map(_number, cells), strict=True))
        yield PublishedTable(
            name,
            path.stem,
            str(table["source"]),
            table["title"],
            table["data"],
            columns,
            rows,
            table.get("note", ""),
            content["authors"],
        )


def _number(cell: Any) -> Printed | None:
    if cell is None:
        return None
    if isinstance(cell, str):
        value, spread = cell.split(PLUS_MINUS)
        return Printed(float(value), float(spread))
    return Printed(float(cell))

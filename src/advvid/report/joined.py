"""The two scales of a study's table side by side: ``python -m advvid.report --tables papers.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from advvid.core.errors import AdvvidError
from advvid.core.plain import read_json
from advvid.studies.cell import Cell
from advvid.studies.table import Analysis, Figure, StudyTable, Verdict


@dataclass(frozen=True)
class JoinedTable:
    """One table at one or both scales, by scale."""

    scales: Mapping[str, StudyTable]

    @property
    def first(self) -> StudyTable:
        """The table at the scale that was read first, whose title and name both have."""
        return next(iter(self.scales.values()))

    @property
    def columns(self) -> list[str]:
        """The columns of either scale."""
        return list(dict.fromkeys(column for table in self.scales.values() for column in table.columns))

    @property
    def places(self) -> dict[str, list[str]]:
        """The columns of either scale by row of either."""
        return {row: self.columns for table in self.scales.values() for row in table.rows}

    @property
    def claims(self) -> list[Verdict]:
        """The verdicts at either scale."""
        return [claim for table in self.scales.values() for claim in table.claims]

    @property
    def figures(self) -> list[tuple[str, Figure]]:
        """The pictures, each with its scale."""
        return [(scale, figure) for scale, table in self.scales.items() for figure in table.figures]

    @property
    def analyses(self) -> list[Analysis]:
        """The evaluations behind the pictures."""
        return [found for table in self.scales.values() for found in table.analyses]

    @property
    def runs(self) -> list[Path]:
        """The run folders that cells and figures come from, each once."""
        return list(dict.fromkeys(path for table in self.scales.values() for path in table.runs))

    def unit(self, column: str) -> str:
        """Return the unit of a column; "" where none is given."""
        return next((table.units[column] for table in self.scales.values() if column in table.units), "")

    def cells(self, row: str, column: str) -> dict[str, Cell]:
        """Return a cell by scale."""
        return {scale: table.rows.get(row, {}).get(column, Cell()) for scale, table in self.scales.items()}

    def published(self, row: str, column: str) -> Cell:
        """Return the cell of the scale that has a published number there.

        Raises:
            AdvvidError: if the scales disagree on it.
        """
        printed = [cell for cell in self.cells(row, column).values() if cell.published is not None]
        numbers = sorted({str(cell.published) for cell in printed})
        if len(numbers) > 1:
            raise AdvvidError(
                f"the table {self.first.id} has two published numbers for {row}, {column} ({', '.join(numbers)}): "
                "correct the one that the paper does not print"
            )
        return next((cell for cell in printed if cell.spread is not None), printed[0] if printed else Cell())


def read_tables(sources: Sequence[Path]) -> list[JoinedTable]:
    """Read tables from JSON files, whose form ``advvid.studies.table`` has; those of one id become one with both scales.

    Raises:
        AdvvidError: for a file that cannot be read or does not follow the form, and for scales that disagree.

    Example:
        >>> read_tables([])
        []
    """
    found: dict[str, dict[str, StudyTable]] = {}
    for source in sources:
        try:
            content = read_json(source)
        except AdvvidError as error:
            raise AdvvidError(
                f"--tables {source} cannot be read ({error}): give a JSON file with a list of tables"
            ) from None
        if not isinstance(content, list):
            raise AdvvidError(f"--tables {source} holds no list of tables: see advvid.studies.table for its form")
        for node in content:
            table = StudyTable.from_json(node, source).located(source)
            scales = found.setdefault(table.id, {})
            if table.scale in scales:
                raise AdvvidError(f"the table {table.id} is given twice at one scale: leave one out")
            scales[table.scale] = table
    joined = [JoinedTable(scales) for scales in found.values()]
    for both in joined:
        for row, columns in both.places.items():
            for column in columns:
                both.published(row, column)
    return joined

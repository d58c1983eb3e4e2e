"""Curves and tables as CSV files, for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from advvid.core import files
from advvid.core.errors import AdvvidError

CURVES = ("step", "metric", "value")


class CsvTracker:
    """Keeps the record in ``<run folder>/csv``: ``curves.csv`` with a line per point, each table, and ``summary.csv``.

    A resumed run goes on in the same files: points from its first step on are written anew.

    Example:
        >>> tracker = CsvTracker()
        >>> tracker.start(Path("/tmp/run"), {}, "demo")
        >>> tracker.log({"loss": 0.5}, step=0)
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._summary: dict[str, Any] = {}

    def start(self, run_dir: Path, config: Mapping[str, Any], name: str) -> None:
        """Make the folder."""
        self._folder, self._summary = run_dir / "csv", {}
        self._folder.mkdir(parents=True, exist_ok=True)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Add a line for each number."""
        path = self._place("curves")
        before: list[list[Any]] = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as lines:
                before = [row for row in csv.reader(lines) if row and row[0].isdigit() and int(row[0]) < step]
        _write(path, CURVES, [*before, *([step, metric, value] for metric, value in metrics.items())])

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Write a table."""
        _write(self._place(name), columns, rows)

    def image(self, name: str, path: Path) -> None:
        """Do nothing: pictures lie in the run folder."""

    def video(self, name: str, path: Path) -> None:
        """Do nothing: films lie in the run folder."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set the final values."""
        self._summary.update(values)
        _write(self._place("summary"), ("name", "value"), list(self._summary.items()))

    def artifact(self, kind: str, paths: Sequence[Path]) -> None:
        """Do nothing: the files lie in the run folder."""

    def finish(self) -> None:
        """Do nothing: every line is on the disk."""

    def _place(self, name: str) -> Path:
        if self._folder is None:
            raise AdvvidError("the CSV tracker is not started: call start(run_dir, config, name) first")
        return self._folder / f"{name.replace('/', '_')}.csv"


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    files.write_text(path, text.getvalue())

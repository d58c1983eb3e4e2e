"""Gathers the tables of many runs into one: Markdown, CSV, and a heat map where two settings vary.

python -m advvid.gather outputs/sweep/2026-01-31_12-00-00 --over seed --column pgd
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from advvid.core import files
from advvid.core.errors import AdvvidError
from advvid.core.escape import csv_cell
from advvid.core.numbers import parse_number
from advvid.core.same_clips import clip_notes
from advvid.evaluation.scores import Score, Scores
from advvid.evaluation.table import INTERVALS, ResultTable, names_of, robustness_table
from advvid.runs.average import Row, average
from advvid.runs.found_runs import FoundRun, find_runs, varied

RANGE = "Percent of clips classified correctly: mean over {over}, [lowest, highest]."
# A log file is read in an editor: rather one wide table than a narrow one turned on its side.
LOG_WIDTH = 160


def gather(
    folders: Sequence[Path], out: Path, title: str = "", over: str | None = None, column: str | None = None
) -> tuple[ResultTable, list[Path], list[FoundRun]]:
    """Gather every run below ``folders`` into one table and write it.

    Args:
        folders: where to look, at any depth.
        out: folder for ``gathered.md``, ``gathered.csv`` and the heat map.
        title: heading of the table.
        over: a setting to average over, such as ``seed``: its runs become one row with mean and range.
        column: what the heat map shows; None for the attack whose settings vary, else the first one.

    Returns:
        The table, the files written, and the runs found.

    Raises:
        AdvvidError: if no run has a table, or ``over`` or ``column`` names nothing.
    """
    found = find_runs(folders)
    done = [run for run in found if run.result is not None]
    failed = [run for run in found if run.result is None]
    if not done:
        raise AdvvidError(
            f"no run below {', '.join(map(str, folders))} has a robustness.json ({len(failed)} without): "
            "run with mode=train_eval, or score a trained run with mode=eval checkpoint=<run folder>"
        )
    rows: list[Row] = [(run.label, run.result) for run in done if run.result is not None]
    clips, settings = clip_notes(rows), varied(done)
    if over is not None:
        rows, settings = average(rows, settings, over)
    described = {key: values for key, values in settings.items() if key != "seed"}
    intervals = INTERVALS if over is None else RANGE.format(over=over)
    table = robustness_table(rows, title, described, intervals)
    lost = [f"No table: {run.label} ({run.problem})" for run in failed]
    table = replace(table, notes=(*clips, *table.notes, *lost))
    files.make_folder(out)
    drawn = _heat_map(out, rows, settings, column)  # first, since it may find that the question has no answer
    files.write_text(out / "gathered.md", table.markdown())
    _write_csv(out / "gathered.csv", rows, described, failed)
    written = [out / "gathered.md", out / "gathered.csv", *drawn]
    return table, written, found


def _columns(rows: Sequence[Row]) -> dict[str, str | None]:
    """Return every column of the rows with the section that holds it (None: the top level)."""
    single = (name for name in Scores.SINGLE if any(getattr(run, name) is not None for _, run in rows))
    top: dict[str, str | None] = dict.fromkeys(single)
    return top | {name: section for section in Scores.COLUMNS for name in names_of(rows, section)}


def _write_csv(
    path: Path, rows: Sequence[Row], described: Mapping[str, Sequence[str]], failed: Sequence[FoundRun]
) -> None:
    """Write a line per run: settings, then each accuracy with its interval, as fractions in [0, 1]."""
    columns = _columns(rows)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    ends = [end for name in columns for end in (name, f"{name}_low", f"{name}_high")]
    writer.writerow(map(csv_cell, ["run", *described, "n", "seed", *ends, "problem"]))
    for i, (label, run) in enumerate(rows):
        cells = []
        for name in columns:
            score = run.scores.get(name, Score())
            cells += ["" if score.acc is None else score.acc, *(score.ci95 or ("", ""))]
        writer.writerow(
            map(
                csv_cell,
                [
                    label,
                    *(values[i] for values in described.values()),
                    run.n,
                    "" if run.seed is None else run.seed,
                    *cells,
                    "",
                ],
            )
        )
    for lost in failed:
        writer.writerow(map(csv_cell, [lost.label, *[""] * (len(described) + 2 + len(ends)), lost.problem]))
    files.write_text(path, text.getvalue())


def _heat_map(out: Path, rows: Sequence[Row], settings: Mapping[str, Sequence[str]], column: str | None) -> list[Path]:
    """Draw one column over two settings, if exactly two vary; several runs in a cell are averaged."""
    columns = _columns(rows)
    if column is not None and column not in columns:
        raise AdvvidError(f"--column {column}: the runs have no such column; choose from {', '.join(columns)}")
    if len(settings) != 2:
        if column is not None:
            raise AdvvidError(
                f"--column {column}: a heat map needs two settings that vary; here vary: {', '.join(settings) or 'none'} "
                "(gather other runs, or average with --over)"
            )
        return []
    from advvid.visuals.heat_maps import heat_map  # Matplotlib takes a second, which most tables do without.

    # Where the attack's own settings vary, its column is the question.
    chosen = {str(run.config.get("choices", {}).get("attack")) for _, run in rows}
    swept = next(iter(chosen)) if len(chosen) == 1 and any(key.startswith("attack.") for key in settings) else None
    attacks = [c for c, section in columns.items() if section == "attacks"]
    name = column or (swept if swept in attacks else next(iter(attacks), "union"))
    (row_key, row_values), (column_key, column_values) = settings.items()
    ticks = [sorted(set(values), key=_by_size) for values in (row_values, column_values)]
    cells: dict[tuple[int, int], list[float]] = {}
    for i, (_, run) in enumerate(rows):
        accuracy = run.scores.get(name, Score()).acc
        if accuracy is not None:
            cells.setdefault((ticks[0].index(row_values[i]), ticks[1].index(column_values[i])), []).append(accuracy)
    values = np.full((len(ticks[0]), len(ticks[1])), np.nan)
    for place, accuracies in cells.items():
        values[place] = np.mean(accuracies)
    path = out / f"heatmap_{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.png"
    heat_map(path, values, ticks[0], ticks[1], row_key, column_key, f"{name}: percent right")
    return [path]


def _by_size(text: str) -> tuple[int, float, str]:
    """Sort numbers and fractions by size, before words."""
    try:
        return 0, parse_number(text), text
    except AdvvidError:
        return 1, 0.0, text


def places(run: FoundRun) -> list[str]:
    """Return where a run's table, pictures and W&B record lie, as far as they exist."""
    records = sorted(run.path.glob("wandb/*run-*"))
    said = [
        ("table", run.path / "robustness.json"),
        ("clips", run.path / "samples.jsonl"),
        ("pictures", run.path / "pictures"),
    ]
    said += [("W&B", records[-1])] if records else []
    return [f"{name + ':':<10}{path}" for name, path in said if path.exists()]


def main(arguments: Sequence[str] | None = None, console: Console | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="advvid gather", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a run, a sweep, or outputs/")
    parser.add_argument("--over", metavar="KEY", help="average over this setting, for example seed")
    parser.add_argument(
        "--column", help="column of the heat map (default: the attack whose settings vary, else the first)"
    )
    parser.add_argument("--title", default="", help="heading of the table")
    parser.add_argument("--out", type=Path, help="where the files go (default: the first FOLDER)")
    parser.add_argument("--where", action="store_true", help="say where each run's JSON, pictures and W&B record are")
    options = parser.parse_args(arguments)
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    try:
        table, written, runs = gather(
            options.folders, options.out or options.folders[0], options.title, options.over, options.column
        )
    except AdvvidError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    console.print(table)
    for run in (run for run in runs if options.where and run.result is not None):
        console.print(Text(f"\n{run.label}", style="bold"))
        for line in places(run):
            console.print(Text(f"  {line}"), soft_wrap=True)
    console.print(Text("\nWritten: " + ", ".join(map(str, written))), soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One table of a paper, published and measured side by side, as JSON and Markdown."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advvid.core.files import write_bytes, write_text
from advvid.studies.measured import measure
from advvid.studies.plan import DEMO, CellPlan, Study, Target
from advvid.studies.published import PublishedTable, authors_of, published_tables
from advvid.studies.work import TROUBLE, Runner

# Made of other cells: of the same row, or in percent of the second of two rows.
ROW_MEAN, ROW_DIFFERENCE, RELATIVE = "row_mean", "row_difference", "relative"
MADE = (ROW_MEAN, ROW_DIFFERENCE, RELATIVE)
# What takes the part of data sets at demo scale.
CLIPS, FEATURES = "embedded clips of 32 x 32", "embedded features of 1,000 videos"


def make_table(runner: Runner, plan: Study, target: Target, command: str) -> dict[str, Any]:
    """Carry out what a target needs and return its table; a cell that cannot be had says why."""
    folders: dict[tuple[str, str], Path] = {}
    problems: dict[tuple[str, str], str] = {}
    for run, score in target.wanted(runner.scale):
        try:
            folders[run, score] = runner.scored(plan, run, score)
        except TROUBLE as error:
            problems[run, score] = str(error)
    printed = published_tables().get(target.id)
    rows: list[dict[str, Any]] = [
        {
            "name": row,
            "cells": {c: _cell(runner, printed, row, c, cell, folders, problems) for c, cell in cells.items()},
        }
        for row, cells in target.cells.items()
    ]
    for row in rows:
        _averages(row["cells"], target.cells[row["name"]])
    relations({row["name"]: row["cells"] for row in rows}, target.cells)
    figures = [
        {
            "path": str(path),
            "alt": f"{run}, {score}: {path.stem}".replace("_", " "),
            "name": f"{run}_{score}_{path.name}",
        }
        for run, score in target.figures
        if (run, score) in folders
        for path in _pictures(folders[run, score], target.only)
    ]
    data = _data(plan, target, printed, runner.scale)
    said = f"Demo: {data}, narrow networks." if runner.scale == DEMO else "At the paper's scale."
    if runner.given.get(""):
        said += f" Every run was told {' '.join(runner.given[''])}."
    notes = (
        said,
        printed.note if printed else "",
        target.note.get(runner.scale, ""),
        starts(plan, target, runner.scale),
    )
    return {
        "id": target.id, "title": target.title, "paper": _source(target, printed), "scale": runner.scale,
        "dataset": data, "units": _units(target), "caption": " ".join(text for text in notes if text),
        "columns": list(next(iter(target.cells.values()), {})), "rows": rows, "claims": [], "figures": figures,
        "analyses": [{"run": run, "score": score, "folder": str(folder)} for (run, score), folder in folders.items()
                     if (run, score) in target.figures],
        "problems": sorted(set(problems.values())),
        "seconds": runner.seconds(plan, folders), "command": command,
    }  # fmt: skip


def _data(plan: Study, target: Target, printed: PublishedTable | None, scale: str) -> str:
    used = {name for run, _ in target.wanted(scale) for name in plan.runs[run].data}
    if scale == DEMO:
        return FEATURES if used == {"youtube8m"} else CLIPS
    return printed.data if printed else ", ".join(sorted(used))


def starts(plan: Study, target: Target, scale: str) -> str:
    """Say which trainings of a target begin with the weights of others; "" where none does."""
    found: dict[str, list[str]] = {}
    for run in dict.fromkeys(run for run, _ in target.wanted(scale)):
        if scale in plan.runs[run].start:
            found.setdefault(plan.runs[run].start[scale], []).append(run)
    said = [
        f"{', '.join(runs)} start{'s' if len(runs) == 1 else ''} from the weights of {first}"
        for first, runs in found.items()
    ]
    return f"Trainings: {'; '.join(said)}." if said else ""


def _cell(
    runner: Runner, printed: PublishedTable | None, row: str, column: str, cell: CellPlan,
    folders: Mapping[tuple[str, str], Path], problems: Mapping[tuple[str, str], str],
) -> dict[str, Any]:  # fmt: skip
    number = printed.cell(row, column) if printed else None
    found: dict[str, Any] = {
        "published": None if number is None else number.value,
        "measured": None,
        "why_missing": None,
    }
    if number is not None and number.spread is not None:
        found["published_spread"] = number.spread
    pair = (cell.run, cell.score)
    if runner.scale in cell.why:
        found["why_missing"] = cell.why[runner.scale]
    elif cell.measure in MADE:
        pass  # once the others are there
    elif pair in problems:
        found["why_missing"] = problems[pair]
    else:
        try:
            found["measured"] = measure(folders[pair], cell)
        except TROUBLE as error:
            found["why_missing"] = str(error)
    return found


def _source(target: Target, printed: PublishedTable | None) -> str:
    return f"{printed.authors}, {printed.source}" if printed else authors_of(target.paper)


def _units(target: Target) -> dict[str, str]:
    """Return the columns whose numbers are percentages."""
    rows = list(target.cells.values())
    columns = list(rows[0]) if rows else []
    return {column: "%" for column in columns if all(_percent(row[column]) for row in rows)}


def _percent(cell: CellPlan) -> bool:
    if cell.measure == "json":
        return float(cell.options.get("factor", 1)) == 100
    if cell.measure == "metric":
        return float(cell.options.get("factor", 100)) == 100
    return cell.measure in ("acc", "fooling_rate", ROW_MEAN, RELATIVE)


def _averages(cells: dict[str, dict[str, Any]], plan: Mapping[str, CellPlan]) -> None:
    """Fill cells that are the mean or the difference of others of their row."""
    for column, cell in plan.items():
        if cell.measure not in (ROW_MEAN, ROW_DIFFERENCE):
            continue
        members = [cells[other]["measured"] for other in cell.options["over"]]
        lacking = [name for name, found in zip(cell.options["over"], members, strict=True) if found is None]
        if lacking:
            cells[column]["why_missing"] = f"made with {lacking[0]}, which is missing"
            continue
        values = [found["value"] for found in members]
        value = values[0] - values[1] if cell.measure == ROW_DIFFERENCE else sum(values) / len(values)
        cells[column] |= {"measured": {**members[0], "value": value, "ci95": None}, "why_missing": None}


def relations(rows: Mapping[str, dict[str, dict[str, Any]]], plan: Mapping[str, Mapping[str, CellPlan]]) -> None:
    """Fill cells that say by how many percent one row's number is above another's of the same column."""
    for name, cells in plan.items():
        for column, cell in cells.items():
            if cell.measure != RELATIVE:
                continue
            one, two = (rows[other][column]["measured"] for other in cell.options["over"])
            if one is None or two is None or not two["value"]:
                rows[name][column]["why_missing"] = (
                    f"made with {' and '.join(cell.options['over'])}: one is missing or 0"
                )
                continue
            value = 100 * (one["value"] - two["value"]) / two["value"]
            rows[name][column] |= {"measured": {**one, "value": value, "ci95": None}, "why_missing": None}


def _pictures(folder: Path, only: str) -> list[Path]:
    """Return the figures of an analysis, or an evaluation's contact sheets."""
    return sorted(path for place in ("analysis", "pictures") for path in (folder / place).glob(f"{only}.png"))


def counted(table: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many cells of a table are measured, and how many it has."""
    cells = [cell for row in table["rows"] for cell in row["cells"].values()]
    return sum(cell["measured"] is not None for cell in cells), len(cells)


def markdown(table: Mapping[str, Any], folder: Path = Path()) -> str:
    """Return a table as Markdown for a folder, published and measured numbers in columns of their own."""
    columns = table["columns"]
    scale = table["scale"]
    lines = [f"### {table['id']}: {table['title']}", "", table["caption"], ""]
    if columns:
        heads = [f"{c}, published | {c}, {scale}" for c in columns]
        lines += ["| | " + " | ".join(heads) + " |", "|---|" + "---:|---:|" * len(columns)]
        decimals = [1 if table["units"].get(column) == "%" else 3 for column in columns]
        lines += [_row(row["name"], [row["cells"][c] for c in columns], decimals) for row in table["rows"]]
        lines += ["", *_notes(table)]
    elif table["problems"]:
        lines += [*(f"- No picture: {problem}" for problem in table["problems"]), ""]
    lines += [f"![{figure['alt']}](<{os.path.relpath(figure['path'], folder)}>)" for figure in table["figures"]]
    cost = "" if table["seconds"] is None else f"; {table['seconds'] / 60:.1f} minutes of computing"
    lines += [f"Made by `{table['command']}`{cost}.", ""]
    return "\n".join(lines)


def _row(name: str, cells: Sequence[Mapping[str, Any]], decimals: Sequence[int]) -> str:
    shown = []
    for cell, digits in zip(cells, decimals, strict=True):
        published, spread, measured = cell["published"], cell.get("published_spread"), cell["measured"]
        shown.append("" if published is None else f"{published:g}" + (f" ± {spread:g}" if spread is not None else ""))
        if measured is None or measured["value"] is None:
            shown.append("–")
        else:
            ends = measured["ci95"]
            shown.append(
                f"{measured['value']:.{digits}f}" + (f" [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]" if ends else "")
            )
    return f"| {name} | " + " | ".join(shown) + " |"


def _notes(table: Mapping[str, Any]) -> list[str]:
    """Say how many clips and which seed are behind the numbers, and why cells are empty."""
    measured = [cell["measured"] for row in table["rows"] for cell in row["cells"].values() if cell["measured"]]
    sizes = sorted({m["n"] for m in measured if m["n"] is not None})
    seeds = sorted({m["seed"] for m in measured})
    lines = []
    if measured:
        size = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}" if sizes else "-"
        lines.append(f"Measured: n = {size}, seed {', '.join(map(str, seeds))}; 95% intervals over clips in brackets.")
    reasons: dict[str, list[str]] = {}
    for row in table["rows"]:
        for column, cell in row["cells"].items():
            if cell["why_missing"]:
                reasons.setdefault(cell["why_missing"], []).append(f"{row['name']}/{column}")
    for reason, places in reasons.items():
        shown = ", ".join(places[:4]) + (f" and {len(places) - 4} more" if len(places) > 4 else "")
        lines.append(f"- No number for {shown}: {reason}")
    return [*lines, ""]


def write(table: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write a table's JSON and Markdown and return the files."""
    files = [folder / f"{table['id']}.json", folder / f"{table['id']}.md"]
    write_text(files[0], json.dumps(table, indent=1) + "\n")
    write_text(files[1], markdown(table, folder))
    return files


def publish(table: Mapping[str, Any], target: Path) -> Path:
    """Put a table into ``papers.json``, in place of the one of the same name and scale, and its pictures beside that."""
    path, drawn = target / "papers.json", Path("figures") / f"{table['id']}-{table['scale']}"
    known = json.loads(path.read_text()) if path.is_file() else []
    kept = [other for other in known if (other["id"], other["scale"]) != (table["id"], table["scale"])]
    shutil.rmtree(target / drawn, ignore_errors=True)
    figures = []
    for figure in table["figures"]:
        copy = drawn / figure["name"]
        write_bytes(target / copy, Path(figure["path"]).read_bytes())
        figures.append({**figure, "path": copy.as_posix()})
    tables = sorted([*kept, {**table, "figures": figures}], key=_in_order)
    write_text(path, json.dumps(tables, indent=1) + "\n")
    return path


def _in_order(table: Mapping[str, Any]) -> tuple[list[Any], str]:
    """Sort table 10 behind table 2."""
    parts = re.split(r"(\d+)", table["id"])
    return [int(part) if part.isdigit() else part for part in parts], table["scale"]

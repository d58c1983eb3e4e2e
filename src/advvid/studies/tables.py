"""Makes one table of a study, and shows it as Markdown: what was published, where anything was, beside what was measured."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from advvid.evaluation.table import Block
from advvid.studies.cell import Cell
from advvid.studies.compared import at_an_end
from advvid.studies.made import MADE, PERCENT, fill_made
from advvid.studies.measured import measure_all
from advvid.studies.plan import DEMO, CellPlan, Study, Target
from advvid.studies.published import PublishedTable, authors_of, published_tables
from advvid.studies.remarks import remarks
from advvid.studies.table import Analysis, Figure, StudyTable
from advvid.studies.weights import starts
from advvid.studies.work import TROUBLE, Runner

# What takes the part of YouTube-8M at demo scale.
FEATURES = "embedded features of 1,000 videos"
CONTROL = re.compile("(random|black)_")  # attacks without a gradient, which ought to do nothing


@dataclass(frozen=True)
class _Found:
    """Where the evaluations of a target are, or why they are not there."""

    folders: Mapping[tuple[str, str], Path]
    problems: Mapping[tuple[str, str], str]


def make_table(runner: Runner, study: Study, target: Target, command: str) -> StudyTable:
    """Carry out what a target needs and return its table; a cell that cannot be had says why."""
    folders: dict[tuple[str, str], Path] = {}
    problems: dict[tuple[str, str], str] = {}
    for run, score in target.wanted(runner.scale):
        try:
            folders[run, score] = runner.scored(study, run, score)
        except TROUBLE as error:
            problems[run, score] = str(error)
    printed, found = published_tables().get(target.id), _Found(folders, problems)
    rows = {
        row: {column: _cell(runner.scale, printed, (row, column), cell, found) for column, cell in cells.items()}
        for row, cells in target.cells.items()
    }
    drawn = [pair for pair in target.figures if pair in folders]
    data = _data(study, target, printed, runner.scale)
    said = "" if study.own else f"Demo: {data}, narrow networks." if runner.scale == DEMO else "At the paper's scale."
    told = f"Every run was told {' '.join(runner.given[''])}." if runner.given.get("") else ""
    note = target.note.get(runner.scale, "")
    first = starts(study, target, runner.scale, runner.weights)
    notes = (said, told, printed.note if printed else "", note, first, remarks(target, folders))
    return StudyTable(
        id=target.id,
        scale=runner.scale,
        title=target.title,
        paper=_source(study, printed),
        dataset=data,
        columns=tuple(next(iter(target.cells.values()), {})),
        rows=fill_made(rows, target.cells),
        units=_units(target),
        caption=" ".join(filter(None, notes)),
        command=command,
        figures=tuple(
            Figure(path, f"{run}, {score}: {path.stem}".replace("_", " "), f"{run}_{score}_{path.name}")
            for run, score in drawn
            for path in _pictures(folders[run, score], target.only)
        ),
        analyses=tuple(Analysis(folders[pair], *pair) for pair in drawn),
        problems=tuple(sorted(set(problems.values()))),
        seconds=runner.seconds(study, folders),
    )


def _data(study: Study, target: Target, printed: PublishedTable | None, scale: str) -> str:
    used = {name for run, _ in target.wanted(scale) for name in study.runs[run].data}
    if scale == DEMO and not study.own:
        return FEATURES if used == {"youtube8m"} else _embedded(study, target)
    return printed.data if printed else ", ".join(sorted(used))


def _embedded(study: Study, target: Target) -> str:
    """Name the embedded clips of a target by the size and the scene that its trainings are told."""
    found = []
    for run, _ in target.wanted(DEMO):
        told = dict(given.partition("=")[::2] for given in study.runs[run].overrides[DEMO])
        scene = "" if told.get("dataset.scene", "plain") == "plain" else f"{told['dataset.scene']} "
        size = told.get("dataset.size", "32")
        found.append(f"embedded {scene}clips of {size} x {size}")
    return " and ".join(dict.fromkeys(found))


def _cell(scale: str, printed: PublishedTable | None, place: tuple[str, str], plan: CellPlan, found: _Found) -> Cell:
    number = printed.cell(*place) if printed and place[0] in printed.rows else None
    value, spread = (number.value, number.spread) if number else (None, None)
    failed = [found.problems[pair] for pair in plan.pairs(scale) if pair in found.problems]
    if scale in plan.why:
        return Cell(value, None, plan.why[scale], spread)
    if plan.measure in MADE:  # once the others are there
        return Cell(value, None, "", spread)
    if failed:
        return Cell(value, None, failed[0], spread)
    try:
        return Cell(value, measure_all([found.folders[pair] for pair in plan.pairs(scale)], plan), "", spread)
    except TROUBLE as error:
        return Cell(value, None, str(error), spread)


def _source(study: Study, printed: PublishedTable | None) -> str:
    if study.own:
        return f"the study {study.name}"
    return f"{printed.authors}, {printed.source}" if printed else authors_of(study.name)


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
    return cell.measure in ("acc", "fooling_rate", "survival", "constant", *PERCENT)


def _pictures(folder: Path, only: str) -> list[Path]:
    """Return the figures of an analysis, or an evaluation's contact sheets."""
    return sorted(path for place in ("analysis", "pictures") for path in (folder / place).glob(f"{only}.png"))


def markdown(table: StudyTable, folder: Path = Path()) -> str:
    """Return a table as Markdown for a folder; published and measured numbers in columns of their own, where any were published."""
    lines = [f"### {table.id}: {table.title}", "", table.caption, ""]
    if table.columns:
        both = any(cell.published is not None for _, _, cell in table.cells)
        heads = [head for c in table.columns for head in ((f"{c}, published", f"{c}, {table.scale}") if both else (c,))]
        rows = []
        for name, cells in table.rows.items():
            shown = [(_published(cells[c]), _measured(cells[c], table.units.get(c) == "%")) for c in table.columns]
            rows.append((name, *(text for pair in shown for text in (pair if both else pair[1:]))))
        lines += [Block("", ("", *heads), tuple(rows)).markdown(), "", *_notes(table)]
    elif table.problems:
        lines += [*(f"- No picture: {problem}" for problem in table.problems), ""]
    lines += [f"![{figure.alt}](<{os.path.relpath(figure.path, folder)}>)" for figure in table.figures]
    if table.seconds is None:
        lines += [f"Made again by `{table.command}`.", ""]
    else:
        lines += [f"Made by `{table.command}`; {table.seconds / 60:.1f} minutes of computing.", ""]
    return "\n".join(lines)


def _published(cell: Cell) -> str:
    spread = "" if cell.spread is None else f" ± {cell.spread:g}"
    return "" if cell.published is None else f"{cell.published:g}{spread}"


def _measured(cell: Cell, percent: bool) -> str:
    found = cell.measured
    if found is None:
        return "–"
    ends, digits = found.range or found.ci95, 1 if percent or abs(found.value) >= 10 else 3
    low, high = (f"{end:.{digits}f}" for end in ends or (0, 0))
    return f"{found.value:.{digits}f}" + (f" [{low}, {high}]" if ends and (low != high or percent) else "")


def columns_at_an_end(table: StudyTable) -> dict[str, list[str]]:
    """Return the columns of percentages all of whose rows are below 5%, or above 95%, by which; clean ones and controls apart."""
    found: dict[str, list[str]] = {}
    for column in table.columns:
        if column == "clean" or table.units.get(column) != "%" or CONTROL.match(column):
            continue
        values = [m.value for row in table.rows.values() if (m := row[column].measured) is not None]
        end = at_an_end(values)
        if end:
            found.setdefault(end, []).append(column)
    return found


def _notes(table: StudyTable) -> list[str]:
    """Say how many clips and which seeds are behind the numbers, and why cells are empty."""
    measured = [cell.measured for _, _, cell in table.cells if cell.measured is not None]
    sizes = sorted({found.n for found in measured if found.n is not None})
    seeds = sorted({seed for found in measured for seed in found.seeds})
    lines = []
    if measured:
        size = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}" if sizes else "-"
        several = (
            "; of several seeds the mean, lowest and highest in brackets" if any(m.range for m in measured) else ""
        )
        lines.append(
            f"Measured: n = {size}, seed {', '.join(map(str, seeds))}; 95% intervals over clips in brackets{several}."
        )
    for end, columns in columns_at_an_end(table).items():
        lines.append(f"- All rows are {end} in {', '.join(columns)}: nothing can be told apart there.")
    reasons: dict[str, list[str]] = {}
    for row, column, cell in table.cells:
        if cell.why_missing:
            reasons.setdefault(cell.why_missing, []).append(f"{row}/{column}")
    for reason, places in reasons.items():
        shown = ", ".join(places[:4]) + (f" and {len(places) - 4} more" if len(places) > 4 else "")
        lines.append(f"- No number for {shown}: {reason}")
    return [*lines, ""]

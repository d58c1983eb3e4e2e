"""Run folders for a report: what stands in the section of each, and the tables that put them side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from advvid.core.same_clips import clip_notes
from advvid.evaluation.robustness import RobustnessTable
from advvid.evaluation.scores import ColumnScore, Score
from advvid.evaluation.table import QUIET, allowed, names_of
from advvid.evaluation.table import SECTIONS as OUTSIDE
from advvid.report import sources
from advvid.report.grid import (
    NOTHING,
    Grid,
    Group,
    Header,
    Mark,
    Row,
    Value,
    anchor,
    number,
    percentage,
    unique_anchors,
)
from advvid.report.naming import ALWAYS, CHOSEN, named
from advvid.report.notes import Notes
from advvid.runs.found_runs import FoundRun, find_runs, varied

SUMS = ("mean", "mean_attacks", "union")
NAMES = {"clean": "clean", "mean": "mean", "mean_attacks": "mean over attacks", "union": "union"}
# Where evaluations of a trained model may lie inside its folder, such as scores/pgd.
INSIDE = "*/*"
# With more runs than this a row per run reads better than a column per run.
MOST_COLUMNS = 6


@dataclass(frozen=True)
class RunSection:
    """What a report says of one run folder.

    Args:
        found: the folder.
        anchor: of the section.
        name: by what the run is: data set, network, defense, seed.
        command: that made it.
        facts: seed, number of clips, cost and the like, by name.
        grid: a row per column of its table; None for a run without one.
        checks: a sentence per raised check.
        made: how many checks were made.
        config: its configuration as YAML.
        settings: of its attacks, as YAML.
    """

    found: FoundRun
    anchor: str
    name: str
    command: str
    facts: Mapping[str, str]
    grid: Grid | None = None
    checks: tuple[str, ...] = ()
    made: int = 0
    config: str = ""
    settings: str = ""

    @property
    def only_trained(self) -> bool:
        """Whether the run was asked to train and to score nothing, and did."""
        return self.found.result is None and "mode=train" in self.command.split() and "training" in self.facts

    def column(self, name: str) -> str:
        """Return the anchor of a column's row, or of the section where there is no such row."""
        rows = [row for group in self.grid.groups for row in group.rows] if self.grid else []
        wanted = anchor(self.anchor, name)
        return f"#{wanted if any(row.anchor == wanted for row in rows) else self.anchor}"


def run_sections(folders: Sequence[Path]) -> list[RunSection]:
    """Find every run below the folders and describe it, with the evaluations that lie inside a run's own folder.

    Raises:
        AdvvidError: as ``advvid.runs.found_runs.find_runs`` does.
    """
    found = find_runs(folders) if folders else []
    inside = [table.parent for run in found for table in sorted(run.path.glob(f"{INSIDE}/robustness.json"))]
    found = find_runs([*folders, *inside]) if inside else found
    anchors = unique_anchors([run.label for run in found], "run")
    return [_section(*told) for told in zip(found, anchors, named(found), strict=True)]


def _section(run: FoundRun, place: str, name: str) -> RunSection:
    command = sources.command_of(run.path)
    cost = sources.training_cost(run.path)
    if run.result is None:
        return RunSection(run, place, name, command, {"training": cost} if cost else {})
    result = run.result
    config = result.config
    facts = {
        "clips": str(result.n),
        "seed": str(NOTHING if result.seed is None else result.seed),
        "scale": "demo (embedded data)" if sources.scale_of(result) == "demo" else "full",
        "settings": ", ".join(f"{group} {choice}" for group, choice in sorted(run.choices.items()) if choice != "None"),
        "training": cost,
        "evaluation": sources.attack_cost(result),
        "commit": str(result.commit or "not known"),
        "versions": sources.versions_text(result),
    }
    origin = sources.trained_in(config)
    if origin is not None and origin.resolve() != run.path.resolve():
        facts["model from"] = sources.local(str(config["checkpoint"]))
        facts["its command"] = sources.command_of(origin)
        facts["training"] = sources.training_cost(origin)
    if result.missing:
        facts["missing clips"] = f"{len(result.missing)} (unreadable videos), not counted in n"
    return RunSection(
        found=run,
        anchor=place,
        name=name,
        command=command,
        facts={key: value for key, value in facts.items() if value},
        grid=columns_grid(result, place),
        checks=tuple(f"{check.sentence}." for check in result.raised),
        made=len(result.checks),
        config=sources.config_text(config),
        settings=sources.settings_text(result),
    )


def columns_grid(table: RobustnessTable, name: str) -> Grid:
    """A row per column of the run's table, with its budget and what it cost."""
    header = (
        Header("percent right"),
        Header("access", words=True),
        Header("budget", words=True),
        Header("largest distance"),
        Header("fooling rate"),
        Header("gradients"),
        Header("seconds"),
        Header("further measures", words=True),
    )
    groups = [Group((_measured_row("clean", table.clean, name),))]
    for section, title in (("attacks", "Attacks"), *OUTSIDE):
        rows = tuple(_measured_row(key, entry, name) for key, entry in table.sections()[section].items())
        groups += [Group(rows, title)] if rows else []
    rows = tuple(_measured_row(key, table.scores[key], name) for key in SUMS if key in table.scores)
    groups += [Group(rows, "Together")] if rows else []
    return _without_empty(Grid("", "column", header, tuple(groups)))


def _without_empty(grid: Grid) -> Grid:
    """Leave out the columns in which nothing stands."""
    rows = [row for group in grid.groups for row in group.rows]
    kept = [i for i in range(len(grid.header)) if i == 0 or any(row.cells[i].text != NOTHING for row in rows)]
    groups = (
        replace(group, rows=tuple(replace(row, cells=tuple(row.cells[i] for i in kept)) for row in group.rows))
        for group in grid.groups
    )
    return replace(grid, header=tuple(grid.header[i] for i in kept), groups=tuple(groups))


def _measured_row(key: str, score: Score, name: str) -> Row:
    column = score if isinstance(score, ColumnScore) else ColumnScore(score.acc, score.ci95, score.metrics)
    fooled = column.measures.get("fooling_rate")
    metrics = {m: v for m, v in column.metrics.items() if m not in QUIET and isinstance(v, int | float)}
    further = ", ".join(f"{metric} {number(value)}" for metric, value in metrics.items())
    cells = (
        marked(column),
        Value(str(column.access or NOTHING).replace("_", " "), words=True),
        Value(str(column.budget or NOTHING), words=True),
        _number(column.max_distance),
        Value(NOTHING if fooled is None else f"{100 * fooled:.1f}"),
        _number(column.gradient_calls),
        _number(column.seconds),
        Value(further or NOTHING, words=True),
    )
    return Row(NAMES.get(key, key), cells, anchor(name, key))


def _number(value: Any) -> Value:
    return Value(number(value) if isinstance(value, int | float) else NOTHING)


def marked(score: Score | None, href: str = "", notes: tuple[int, ...] = ()) -> Value:
    """An accuracy with its interval, in words and drawn."""
    value = percentage(score, href, notes)
    if score is None or score.acc is None or score.ci95 is None:
        return value
    low, high = score.ci95
    mark = Mark(100 * score.acc, 100 * low, 100 * high)
    return Value(value.text, value.interval, href, notes, mark)


def comparisons(sections: Sequence[RunSection], notes: Notes) -> list[tuple[str, str, Grid]]:
    """Return a table per data set and number of clips with several runs, as (scale, heading, table).

    Raised checks become footnotes.
    """
    sets: dict[tuple[str, str, int | str], list[RunSection]] = {}
    for section in sections:
        result = section.found.result
        if result is not None:
            dataset = section.found.choices.get("dataset", "unknown data")
            sets.setdefault((sources.scale_of(result), dataset, result.n), []).append(section)
    return [
        (scale, f"{dataset}, n = {n}", _comparison(group, notes))
        for (scale, dataset, n), group in sorted(sets.items())
        if len(group) > 1  # of one alone its own section says all
    ]


def _comparison(sections: Sequence[RunSection], notes: Notes) -> Grid:
    runs = [(section.anchor, section.found.result) for section in sections if section.found.result is not None]
    marks = [footnotes(section, notes) for section in sections]
    settings = {key: values for key, values in varied([s.found for s in sections]).items() if key != "seed"}
    # Their names say what runs are told apart by; what else was chosen stands above the numbers, the many keys below them.
    shown = (*ALWAYS, *CHOSEN, "checkpoint")
    chosen = {key: values for key, values in settings.items() if "." not in key and key not in shown}
    groups = [Group(tuple(_told(key, values) for key, values in chosen.items()))] if chosen else []
    keys = tuple(_told(key, values) for key, values in settings.items() if "." in key)

    def row(key: str, section: str | None, budget: str = "") -> Row:
        found = [run.scores.get(key) if section is None else run.sections()[section].get(key) for _, run in runs]
        cells = tuple(
            marked(score, s.column(key), marks[i].get(key, ()))
            for i, (s, score) in enumerate(zip(sections, found, strict=True))
        )
        return Row(NAMES.get(key, key), cells, strong=section is None and key != "clean", notes=_said(key, runs, notes))

    top = [row("clean", None), *(row(key, "attacks") for key in names_of(runs, "attacks"))]
    groups.append(
        Group((*top, *(row(key, None) for key in SUMS if any(key in run.scores for _, run in runs))), "Percent right")
    )
    for section, title in OUTSIDE:
        rows = tuple(row(key, section) for key in names_of(runs, section))
        groups += [Group(rows, title)] if rows else []
    groups += [Group(keys, "Settings that differ")] if keys else []
    clips = tuple(
        notes.add(text) for text in clip_notes([(s.name, s.found.result) for s in sections if s.found.result])
    )
    names = named([s.found for s in sections], data=False)
    header = tuple(
        Header(names[i], href=f"#{s.anchor}", notes=(*clips, *marks[i].get("", ())), small=s.found.label)
        for i, s in enumerate(sections)
    )
    grid = Grid("", "column", header, tuple(groups))
    return grid.turned() if len(sections) > MOST_COLUMNS else grid


def _told(key: str, values: Sequence[str]) -> Row:
    return Row(key, tuple(Value(value or NOTHING, words=True) for value in values))


def _said(key: str, runs: Sequence[tuple[str, RobustnessTable]], notes: Notes) -> tuple[int, ...]:
    """Footnote a column with what its attack was allowed, in every wording where the runs differ."""
    texts = dict.fromkeys(allowed(run.columns[key]).replace("_", " ") for _, run in runs if key in run.columns)
    wordings = [text for text in texts if text]
    differs = " (differs by run)" if len(wordings) > 1 else ""
    return (notes.add(f"{key}: {' | '.join(wordings)}{differs}."),) if wordings else ()


def footnotes(section: RunSection, notes: Notes) -> dict[str, tuple[int, ...]]:
    """Return the footnotes of raised checks by column of the run; "" holds those of the whole run."""
    names = list(section.found.result.columns) if section.found.result else []
    found: dict[str, tuple[int, ...]] = {}
    for text in section.checks:
        index = notes.add(f"Check raised for {section.name}: {text}", section.anchor)
        about = [name for name in names if re.search(rf"(?<![\w@]){re.escape(name)}(?![\w@])", text)]
        for name in about or [""]:
            found[name] = (*found.get(name, ()), index)
    return found

"""Averages runs that differ in one setting, such as the seed, into one row."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from advvid.core.errors import AdvvidError
from advvid.evaluation.scores import ColumnScore, Score, Scores
from advvid.evaluation.table import names_of

Row = tuple[str, Scores]


def average(
    rows: Sequence[Row], settings: Mapping[str, Sequence[str]], over: str
) -> tuple[list[Row], dict[str, list[str]]]:
    """Put the runs that differ only in ``over`` into one row: mean accuracies, with lowest and highest as interval.

    Raises:
        AdvvidError: if the runs do not differ in ``over``.
    """
    if over not in settings:
        close = difflib.get_close_matches(over, settings, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"they differ in {', '.join(settings) or 'nothing'}"
        raise AdvvidError(f"--over {over}: the runs do not differ in it; {remedy}")
    others = {key: values for key, values in settings.items() if key != over}
    members: dict[tuple[str, ...], list[int]] = {}
    for i in range(len(rows)):
        members.setdefault(tuple(values[i] for values in others.values()), []).append(i)
    merged = [_merge([rows[i] for i in group]) for group in members.values()]
    return merged, {key: [values[group[0]] for group in members.values()] for key, values in others.items()}


def _merge(group: Sequence[Row]) -> Row:
    """Return one row for several runs."""
    labels, runs = zip(*group, strict=True)
    single: dict[str, Any] = {
        name: _spread(scores)
        for name in Scores.SINGLE
        if (scores := [getattr(run, name) for run in runs if getattr(run, name) is not None])
    }
    sections: dict[str, Any] = {
        section: {
            name: _column_spread([run.columns[name] for run in runs if name in run.columns])
            for name in names_of(group, section)
        }
        for section in Scores.COLUMNS
    }
    table = Scores(
        n=_joined(run.n for run in runs),
        seed=_joined(run.seed for run in runs if run.seed is not None),
        missing=list(dict.fromkeys(clip for run in runs for clip in run.missing)),
        checks=[check for run in runs for check in run.checks],
        **single,
        **sections,
    )
    label = ", ".join(labels)
    return label if len(label) <= 40 else f"{len(labels)} runs", table


def _joined(values: Iterable[Any], between: str = ", ") -> str:
    return between.join(dict.fromkeys(map(str, values)))


def _spread(scores: Sequence[Score]) -> Score:
    """Return mean and range of accuracies."""
    values = [score.acc for score in scores if score.acc is not None]
    return Score(float(np.mean(values)), (min(values), max(values))) if values else Score()


def _column_spread(scores: Sequence[ColumnScore]) -> ColumnScore:
    """Return mean and range of accuracies, and the budget and access that the runs share."""
    spread = _spread(scores)
    return ColumnScore(
        spread.acc,
        spread.ci95,
        budget=_joined((score.budget for score in scores if score.budget), " | "),
        access=_joined((score.access for score in scores if score.access), " | "),
    )

"""Averages runs that differ in one setting, such as the seed, into one row."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from advvid.core.errors import AdvvidError
from advvid.evaluation.table import names_of

# Where a robustness.json holds accuracies: by themselves, and in sections by column.
SINGLE = ("clean", "mean", "mean_attacks", "union")
SECTIONS = ("attacks", "controls", "extra")

Row = tuple[str, Mapping[str, Any]]


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
    """Return one row for several runs, in the form of a ``robustness.json``."""
    labels, runs = zip(*group, strict=True)
    result: dict[str, Any] = {
        "n": _joined(run["n"] for run in runs),
        "seed": _joined(run.get("seed", "") for run in runs),
        "missing": list(dict.fromkeys(clip for run in runs for clip in run.get("missing", ()))),
        "checks": [check for run in runs for check in run.get("checks", ())],
    }
    for name in SINGLE:
        scores = [run[name] for run in runs if name in run]
        if scores:
            result[name] = _spread(scores)
    for section in SECTIONS:
        names = names_of(group, section)
        result[section] = {c: _spread([run[section][c] for run in runs if c in run.get(section, {})]) for c in names}
    label = ", ".join(labels)
    return label if len(label) <= 40 else f"{len(labels)} runs", result


def _joined(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def _spread(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and range of accuracies, and the budget and access that the runs share."""
    result: dict[str, Any] = {
        key: " | ".join(dict.fromkeys(str(score[key]) for score in scores if score.get(key)))
        for key in ("budget", "access")
    }
    values = [score["acc"] for score in scores if score.get("acc") is not None]
    if values:
        result |= {"acc": float(np.mean(values)), "ci95": [min(values), max(values)]}
    return result

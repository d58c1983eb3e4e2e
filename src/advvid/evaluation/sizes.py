"""What columns come to at the size of the clips: budgets in words, and columns that allow the same there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from advvid.evaluation.columns import Column
from advvid.evaluation.robustness import RobustnessTable
from advvid.evaluation.scores import ColumnScore
from advvid.threats.base import budget_at
from advvid.threats.regions import RegionThreat

# Settings that say how large a region is; whole pixels may make two values of them one region.
SIZES = ("ratio", "width", "side", "count")


def distinct(columns: Sequence[Column], shape: Sequence[int]) -> tuple[list[Column], dict[str, str]]:
    """Return the columns without those that allow what an earlier one does, and that earlier one's name for each of these.

    Args:
        columns: of a table.
        shape: of a clip, ``(3, T, H, W)``.

    Example:
        >>> ratios = [Column(f"border_{r}", FrameBorder(ratio=r / 100)) for r in (10, 15)]     # doctest: +SKIP
        >>> distinct(ratios, (3, 8, 32, 32))[1]                                                # doctest: +SKIP
        {'border_15': 'border_10'}
    """
    kept: list[Column] = []
    same: dict[str, str] = {}
    for column in columns:
        first = next((other for other in kept if _alike(column, other, shape)), None)
        if first is None:
            kept.append(column)
        else:
            same[column.name] = first.name
    return kept, same


def members(types: Mapping[str, Sequence[str]], same: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the columns of each type of attack, each region once."""
    return {name: list(dict.fromkeys(same.get(column, column) for column in of)) for name, of in types.items()}


def at_size(
    table: RobustnessTable, columns: Sequence[Column], same: Mapping[str, str], shape: Sequence[int]
) -> RobustnessTable:
    """Return a table whose budgets name the size of the clips, and that has the columns which ``distinct`` left out.

    They stand in ``extra``, outside mean and union, with the clips of the column that allows the same.

    Args:
        table: of the columns that were scored.
        columns: all, those too that were left out.
        same: as ``distinct`` returned it.
        shape: of a clip.
    """
    budgets = {column.name: budget_at(column.attack.threat, shape) for column in columns}
    sections: dict[str, Any] = {}
    for section in table.COLUMNS:
        found: Mapping[str, ColumnScore] = getattr(table, section)
        sections[section] = {
            name: dataclasses.replace(score, budget=budgets.get(name, score.budget)) for name, score in found.items()
        }
    scored = {name: score for section in table.COLUMNS for name, score in sections[section].items()}
    for name, first in same.items():
        size = " x ".join(map(str, shape[1:]))
        note = f"allows what {first} does at {size}: scored once, and in neither mean nor union"
        sections["extra"][name] = dataclasses.replace(scored[first], budget=budgets[name], notes=(note,))
    samples = [
        {**sample, "attacks": {**sample["attacks"], **{name: sample["attacks"][first] for name, first in same.items()}}}
        for sample in table.samples
    ]
    return dataclasses.replace(table, **sections, samples=samples)


def _alike(one: Column, other: Column, shape: Sequence[int]) -> bool:
    threats = one.attack.threat, other.attack.threat
    if type(one.attack) is not type(other.attack) or not all(isinstance(t, RegionThreat) for t in threats):
        return False
    if (one.access, one.seen, one.passes) != (other.access, other.seen, other.passes):
        return False
    sizes = [threat.size_at(shape) for threat in threats if isinstance(threat, RegionThreat)]
    plain = [{key: v for key, v in dataclasses.asdict(c.attack).items() if key not in SIZES} for c in (one, other)]
    return bool(sizes[0]) and sizes[0] == sizes[1] and plain[0] == plain[1]

"""A cell of a study's table: what was published, and what was measured; see ``advvid.studies.table`` for its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Interval = tuple[float, float]


def interval(ends: Any) -> Interval | None:
    """Read the ends of an interval; None where there is none."""
    if ends is None:
        return None
    low, high = map(float, ends)
    return low, high


@dataclass(frozen=True)
class Measured:
    """A number that a run gave, in the unit of its column.

    Args:
        value: the number; of several seeds the mean.
        ci95: its interval over clips; None for a mean over seeds.
        n: of clips.
        seeds: of the runs.
        run: the folder of the run, or of the first of several.
        column: the run's own column.
        range: the lowest and the highest of several seeds.
        each: of several seeds ``seed``, ``value``, ``ci95`` and ``run`` of each.
    """

    value: float
    ci95: Interval | None = None
    n: int | None = None
    seeds: tuple[int, ...] = ()
    run: Path | None = None
    column: str = ""
    range: Interval | None = None
    each: tuple[Mapping[str, Any], ...] = ()

    @property
    def seed(self) -> str:
        """The seeds in words."""
        return ", ".join(map(str, self.seeds))

    @classmethod
    def from_json(cls, node: Mapping[str, Any]) -> Measured:
        """Read a number."""
        seed = node.get("seed")
        return cls(
            value=float(node["value"]),
            ci95=interval(node.get("ci95")),
            n=node.get("n"),
            seeds=() if seed is None else tuple(seed) if isinstance(seed, list) else (seed,),
            run=Path(node["run"]) if node.get("run") else None,
            column=str(node.get("column") or ""),
            range=interval(node.get("range")),
            each=tuple(node.get("each") or ()),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the number as it stands in a file."""
        several = {"range": list(self.range), "each": list(self.each)} if self.range else {}
        seed = list(self.seeds) if len(self.seeds) > 1 else next(iter(self.seeds), None)
        ends, run = list(self.ci95) if self.ci95 else None, str(self.run) if self.run else None
        return {
            "value": self.value,
            "ci95": ends,
            "n": self.n,
            "seed": seed,
            "run": run,
            "column": self.column,
            **several,
        }


@dataclass(frozen=True)
class Cell:
    """What was published, with its spread, and what was measured, or why nothing was."""

    published: float | None = None
    measured: Measured | None = None
    why_missing: str = ""
    spread: float | None = None

    @classmethod
    def from_json(cls, node: Mapping[str, Any]) -> Cell:
        """Read a cell."""
        printed, spread = (
            None if node.get(key) is None else float(node[key]) for key in ("published", "published_spread")
        )
        measured, why = node.get("measured"), str(node.get("why_missing") or "")
        if measured is None or measured["value"] is None:
            return cls(printed, None, why, spread)
        return cls(printed, Measured.from_json(measured), "", spread)

    def to_json(self) -> dict[str, Any]:
        """Return the cell as it stands in a file."""
        found: dict[str, Any] = {"published": self.published, "measured": self.measured and self.measured.to_json()}
        spread = {} if self.spread is None else {"published_spread": self.spread}
        return {**found, "why_missing": self.why_missing or None, **spread}

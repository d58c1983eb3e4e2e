"""What the papers say, judged from the tables that were made: holds, does not hold, or undecided.

A statement is a list of comparisons in ``claimed/<paper>.yaml``. Clips are compared in pairs, by a bootstrap over clips;
where only two proportions are known, by the normal interval of their difference. A statement holds where every interval
lies above its margin, it does not hold where one lies below, and is undecided otherwise, as it is where a model in it has
less than half of the clean accuracy that the paper prints.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advvid.errors import AdvvidError
from advvid.papers.plan import FULL, CellPlan, find_target
from advvid.papers.published import read_yaml
from advvid.statistics import bootstrap_difference
from advvid.tally import read_samples, verdicts

FOLDER = Path(__file__).resolve().parent / "claimed"
HOLDS, FAILS, OPEN = "holds", "does_not_hold", "undecided"
Tables = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Claim:
    """A statement of a paper.

    Args:
        id: its name, such as ``kinfu_c16``.
        says: the statement.
        conditions: what must be so; each names a table and either ``higher``, ``lower`` and ``columns`` with a
            ``margin`` in points, or ``rows``, ``columns`` and ``at_most`` or ``at_least`` in percent.
    """

    id: str
    says: str
    conditions: tuple[Mapping[str, Any], ...]

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that it needs."""
        return tuple(dict.fromkeys(condition["table"] for condition in self.conditions))


@cache
def claims() -> Mapping[str, Claim]:
    """Return every statement by its name."""
    content = {name: node for path in sorted(FOLDER.glob("*.yaml")) for name, node in read_yaml(path).items()}
    return {name: Claim(name, node["says"], tuple(node["if"])) for name, node in content.items()}


def judge(claim: Claim, tables: Tables) -> dict[str, Any] | None:
    """Return a statement's verdict with the least favourable comparison; None where a number for it is missing.

    Args:
        claim: the statement.
        tables: of one scale, by id, as ``make_table`` returns them.
    """
    if any(name not in tables for name in claim.tables):
        return None
    compared: list[dict[str, Any]] = []
    for condition in claim.conditions:
        found = _compare(condition, tables[condition["table"]])
        if found is None:
            return None
        compared += found
    fails = any(found["ci95"][1] < 0 for found in compared)
    holds = all(found["ci95"][0] > 0 for found in compared)
    weak = [name for condition in claim.conditions for name in _unlearnt(condition, tables[condition["table"]])]
    worst = min(compared, key=lambda found: found["ci95"][1] if fails else found["ci95"][0])
    return {
        "verdict": OPEN if weak else FAILS if fails else HOLDS if holds else OPEN, "says": claim.says,
        "because": f"{', '.join(dict.fromkeys(weak))} hardly learned at this scale" if weak else "",
        "scale": tables[claim.tables[0]]["scale"], "tables": list(claim.tables),
        "runs": sorted({run for found in compared for run in found.pop("runs")}), "statistic": worst["points"],
        "ci95": worst["ci95"], "of": worst["of"], "unit": "points above what the statement needs", "comparisons": compared,
    }  # fmt: skip


def _unlearnt(condition: Mapping[str, Any], table: Mapping[str, Any]) -> list[str]:
    """Return the rows with less than half of the clean accuracy that the paper prints: they say nothing about methods."""
    cells = {row["name"]: row["cells"] for row in table["rows"]}
    names = [*condition.get("higher", []), *condition.get("lower", []), *condition.get("rows", [])]
    found = []
    for row in dict.fromkeys(name.partition(":")[0] for name in names):
        clean = cells.get(row, {}).get("clean") or {}
        published, measured = clean.get("published"), clean.get("measured")
        if published and measured and measured["value"] is not None and measured["value"] < published / 2:
            found.append(row)
    return found


def update(tables: Tables, target: Path) -> dict[str, Any]:
    """Judge what can be judged and put it into ``claims.json`` and ``claims.md`` of a folder; return all of the file.

    What was judged at the paper's scale is not replaced by what a demo says.
    """
    path = target / "claims.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for claim in claims().values():
        verdict = judge(claim, tables)
        if verdict is not None and (verdict["scale"] == FULL or known.get(claim.id, {}).get("scale") != FULL):
            known[claim.id] = verdict
    target.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
    (target / "claims.md").write_text(page(known))
    return known


def page(judged: Mapping[str, Any]) -> str:
    """Return the verdicts as Markdown."""
    count = {name: sum(found["verdict"] == name for found in judged.values()) for name in (HOLDS, FAILS, OPEN)}
    lines = ["What the papers say, and what was measured here.", "",
             f"{count[HOLDS]} hold, {count[FAILS]} do not hold, {count[OPEN]} are undecided. The figure is the comparison that decides",
             "least in a statement's favour: points above what it needs, with the 95% interval over clips; nothing is corrected for",
             "the number of comparisons. A verdict at demo scale is about the embedded data and small networks.", "",
             "| statement | | scale | verdict | decided by | points |", "|---|---|---|---|---|---:|"]  # fmt: skip
    for name, found in sorted(judged.items()):
        low, high = found["ci95"]
        verdict = str(found["verdict"]).replace("_", " ") + (f" ({found['because']})" if found.get("because") else "")
        lines.append(
            f"| {name} | {found['says']} | {found['scale']} | {verdict} | {found['of']} | "
            f"{found['statistic']:.1f} [{low:.1f}, {high:.1f}] |"
        )
    return "\n".join(lines) + "\n"


def _compare(condition: Mapping[str, Any], table: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return by how many points each comparison is above what is needed; None where a cell has no number."""
    target = find_target(table["id"])[1]
    cells = {row["name"]: row["cells"] for row in table["rows"]}
    found = []
    for column in condition["columns"]:
        if "higher" not in condition:
            pairs: list[tuple[str, str | None]] = [(row, None) for row in condition["rows"]]
        elif "lower" in condition:
            pairs = [(one, two) for one in condition["higher"] for two in condition["lower"]]
        else:
            pairs = [(one, one) for one in condition["higher"]]
        for one, two in pairs:
            places = [_place(name, column) for name in (one, two) if name is not None]
            measured = [cells.get(row, {}).get(at, {}).get("measured") for row, at in places]
            if any(m is None or m["value"] is None for m in measured):
                return None
            plans = [target.cells[row][at] for row, at in places]
            if "above_access" in condition:
                plans[1] = CellPlan(plans[1].run, plans[1].score, plans[1].column, plans[1].measure)
            needed = float(condition.get("margin", 0))
            if two is None:
                points, interval = _against_number(measured[0], condition)
            else:
                points, interval = _difference(plans, measured, "above_access" in condition)
                points, interval = points - needed, (interval[0] - needed, interval[1] - needed)
            of = " less ".join(f"{row}/{at}" for row, at in places)
            found.append(
                {"of": of, "points": points, "ci95": list(interval), "runs": [str(m["run"]) for m in measured]}
            )
    return found


def _place(name: str, column: str) -> tuple[str, str]:
    row, _, own = name.partition(":")
    return row, own or column


def _against_number(measured: Mapping[str, Any], condition: Mapping[str, Any]) -> tuple[float, tuple[float, float]]:
    low, high = measured["ci95"] or (measured["value"],) * 2
    if "at_most" in condition:
        most = float(condition["at_most"])
        return most - measured["value"], (most - high, most - low)
    least = float(condition["at_least"])
    return measured["value"] - least, (low - least, high - least)


def _difference(
    plans: Sequence[CellPlan], measured: Sequence[Mapping[str, Any]], same_run: bool
) -> tuple[float, tuple[float, float]]:
    """Return first minus second in points, in pairs of clips where both have them."""
    vectors = [_clips(Path(m["run"]), plan) for plan, m in zip(plans, measured, strict=True)]
    if vectors[0] is not None and vectors[1] is not None:
        shared = sorted(set(vectors[0]) & set(vectors[1]))
        if shared:
            one, two = (np.array([vector[clip] for clip in shared]) for vector in vectors if vector is not None)
            difference, (low, high) = bootstrap_difference(one, two, np.random.default_rng(0))
            return 100 * difference, (100 * low, 100 * high)
    if same_run:
        raise AdvvidError(
            "two accesses of one run are compared clip by clip, but its samples are missing: score it again"
        )
    spread = math.hypot(*(_half_width(m) for m in measured))
    points = measured[0]["value"] - measured[1]["value"]
    return points, (points - spread, points + spread)


def _half_width(measured: Mapping[str, Any]) -> float:
    if measured["ci95"]:
        return float(measured["ci95"][1] - measured["ci95"][0]) / 2
    return 98 / math.sqrt(measured["n"] or 1)  # the widest that a proportion of so many clips can have, in points


def _clips(folder: Path, plan: CellPlan) -> dict[str, NDArray[np.float64]] | None:
    """Return what each clip adds to a cell; None where the cell is not made of clips."""
    path = folder / "samples.jsonl"
    if plan.measure not in ("acc", "fooling_rate") or not path.is_file():
        return None
    samples = read_samples(path)
    suffix = f"@{plan.options['access']}" if "access" in plan.options else ""
    right = verdicts(samples, list(samples[0]["attacks"]))
    every = json.loads((folder / "robustness.json").read_text())["attacks"]  # controls enter neither mean nor union
    if "over" in plan.options:
        values = np.mean([right[name + suffix] for name in plan.options["over"]], axis=0)
    elif plan.column in ("mean", "union"):
        stacked = np.stack([right["clean"], *(right[name] for name in every)])
        values = stacked.mean(axis=0) if plan.column == "mean" else stacked.all(axis=0).astype(float)
    else:
        values = right[plan.column if plan.column == "clean" else plan.column + suffix].astype(float)
    kept = range(len(samples))
    if plan.measure == "fooling_rate":
        values, kept = 1 - values, [i for i in kept if right["clean"][i]]  # type: ignore[assignment]
    return {samples[i]["id"]: values[i] for i in kept}

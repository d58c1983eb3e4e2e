"""By how much one number of the tables is above another, or above what a statement needs, with a 95% interval.

A condition of a statement names a ``table`` and one of

- ``higher``, ``lower`` (rows, or row:column) and ``columns``, with a ``margin``; ``lower_table`` where the latter stand in
  another table; ``access`` where the higher ones are of an attacker who knows less;
- ``higher``, ``columns`` and ``above_access``: a cell's own access against all knowledge of the same run;
- ``rows``, ``columns`` and ``at_most`` or ``at_least``;
- for figures ``run``, ``score`` and ``path`` into the analysis, with ``at_most`` or ``at_least``: a number whose interval stands
  beside it as ``ci95`` or at ``interval``; ``less`` (and ``less_run``) lead to another one that is taken from it;
- for detectors ``auc``: two groups of ``index``, of which the former should be larger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advvid.core.errors import AdvvidError
from advvid.core.plain import read_json
from advvid.evaluation.table_file import read_table
from advvid.evaluation.tally import read_samples, verdicts
from advvid.metrics.statistics import bootstrap_difference, paired_difference
from advvid.studies.catalogue import find_target
from advvid.studies.cell import Measured
from advvid.studies.measured import follow
from advvid.studies.plan import CellPlan
from advvid.studies.resampled import difference
from advvid.studies.table import StudyTable

Tables = Mapping[str, StudyTable]
Interval = tuple[float, float]
DRAWS = 2000
# Measures that are percentages of clips, and those that are means over clips in a unit of their own.
SHARES, MEANS = ("acc", "fooling_rate"), ("iterations", "perturbation", "aap")


def compare(condition: Mapping[str, Any], tables: Tables) -> list[dict[str, Any]] | None:
    """Return by how many points each comparison is above what is needed; None where a number is missing."""
    table = tables[condition["table"]]
    if "score" in condition:
        return _figure(condition, table)
    other = tables[condition.get("lower_table", condition["table"])]
    found = []
    for column in condition["columns"]:
        if "higher" not in condition:
            pairs: list[tuple[str, str | None]] = [(row, None) for row in condition["rows"]]
        elif "lower" in condition:
            pairs = [(one, two) for one in condition["higher"] for two in condition["lower"]]
        else:
            pairs = [(one, one) for one in condition["higher"]]
        for one, two in pairs:
            cells = [_cell(table, one, column), *([] if two is None else [_cell(other, two, column)])]
            measured = [m for _, _, m in cells if m is not None]
            if len(measured) < len(cells):
                return None
            plans = [plan for _, plan, _ in cells]
            if "access" in condition:
                plans[0] = replace(plans[0], options={**plans[0].options, "access": condition["access"]})
            if "above_access" in condition:
                plans[1] = CellPlan(plans[1].run, plans[1].score, plans[1].column, plans[1].measure)
            needed = float(condition.get("margin", 0))
            if two is None:
                points, interval = _against_number(measured[0], condition)
            else:
                points, interval = _difference(plans, measured, "above_access" in condition or "access" in condition)
                points, interval = points - needed, (interval[0] - needed, interval[1] - needed)
            of = " less ".join(place for place, _, _ in cells)
            found.append({"of": of, "points": points, "ci95": list(interval), "runs": [str(m.run) for m in measured]})
    return found


def _cell(table: StudyTable, name: str, column: str) -> tuple[str, CellPlan, Measured | None]:
    """Return a cell's place in words, its plan, and what was measured."""
    row, _, own = name.partition(":")
    at = own or column
    found = table.rows.get(row, {}).get(at)
    return f"{row}/{at}", find_target(table.id)[1].cells[row][at], found.measured if found else None


def _figure(condition: Mapping[str, Any], table: StudyTable) -> list[dict[str, Any]] | None:
    """Compare numbers of analyses."""
    folders = {(found.run, found.score): found.folder for found in table.analyses}
    name, _, path = str(condition["path"]).partition("/")
    runs = [condition["run"], *([condition.get("less_run", condition["run"])] if "less" in condition else [])]
    if any((run, condition["score"]) not in folders for run in runs):
        return None
    results = [read_json(folders[run, condition["score"]] / "analysis" / f"{name}.json") for run in runs]
    if "auc" in condition:
        value, ends = auc(*(follow(results[0], [path, group]) for group in condition["auc"]))
    else:
        value, ends = _number(results[0], path, condition.get("interval"))
    if "less" in condition:
        less, others = _number(results[1], str(condition["less"]), None)
        spread = math.hypot((ends[1] - ends[0]) / 2, (others[1] - others[0]) / 2)
        value, ends = value - less, (value - less - spread, value - less + spread)
    factor = float(condition.get("factor", 1))
    measured = Measured(factor * value, (factor * ends[0], factor * ends[1]))
    points, interval = _against_number(measured, condition)
    of = " less ".join(f"{run}/{condition['score']}" for run in runs)
    return [
        {
            "of": f"{of}: {condition['path']}",
            "points": points,
            "ci95": list(interval),
            "runs": [str(folders[run, condition["score"]]) for run in runs],
        }
    ]


def _number(result: Mapping[str, Any], path: str, interval: str | None) -> tuple[float, Interval]:
    steps = path.split("/")
    value = follow(result, steps)
    ends = follow(result, (interval or "/".join([*steps[:-1], "ci95"])).split("/"))
    return float(value), (float(ends[0]), float(ends[1]))


def auc(low: Sequence[float], high: Sequence[float]) -> tuple[float, Interval]:
    """Return how often a value of ``high`` is above one of ``low``, ties halved, with a bootstrap interval over both.

    Raises:
        AdvvidError: if one of the groups is empty.
    """
    if not low or not high:
        raise AdvvidError("no clip is in one of the groups that are told apart: raise dataset.limit_test")
    one, two = np.array(low), np.array(high)
    above = (two[:, None] > one).astype(float) + 0.5 * (two[:, None] == one)
    random = np.random.default_rng(0)
    counts = [random.multinomial(n, np.full(n, 1 / n), size=DRAWS) / n for n in above.shape]
    drawn = np.einsum("dh,hl,dl->d", counts[0], above, counts[1], optimize=True)
    return float(above.mean()), (float(np.percentile(drawn, 2.5)), float(np.percentile(drawn, 97.5)))


def _against_number(measured: Measured, condition: Mapping[str, Any]) -> tuple[float, Interval]:
    low, high = measured.ci95 or (measured.value,) * 2
    if "at_most" in condition:
        most = float(condition["at_most"])
        return most - measured.value, (most - high, most - low)
    least = float(condition["at_least"])
    return measured.value - least, (low - least, high - least)


def _difference(plans: Sequence[CellPlan], measured: Sequence[Measured], same_run: bool) -> tuple[float, Interval]:
    """Return first minus second, in points or in the measure's unit, in pairs of clips where both have them."""
    folders = [m.run or Path() for m in measured]
    vectors = [_clips(folder, plan) for plan, folder in zip(plans, folders, strict=True)]
    unit = 1.0 if plans[0].measure in MEANS else 100.0
    if vectors[0] is not None and vectors[1] is not None:
        shared = sorted(set(vectors[0]) & set(vectors[1]))
        if shared:
            one, two = (np.array([vector[clip] for clip in shared]) for vector in vectors if vector is not None)
            counts = np.isin([one, two], (0, 1)).all()
            apart, (low, high) = (
                paired_difference(one, two) if counts else bootstrap_difference(one, two, np.random.default_rng(0))
            )
            return unit * apart, (unit * low, unit * high)
    whole = difference(folders, plans)
    if whole is not None:
        return whole
    if same_run:
        raise AdvvidError(
            "two accesses of one run are compared clip by clip, but its samples are missing: score it again"
        )
    points = measured[0].value - measured[1].value
    if unit == 1:
        raise AdvvidError("no clip is fooled in both cells, so that their means cannot be compared")
    spread = math.hypot(*(_half_width(m) for m in measured))
    return points, (points - spread, points + spread)


def _half_width(measured: Measured) -> float:
    if measured.ci95:
        return (measured.ci95[1] - measured.ci95[0]) / 2
    return 98 / math.sqrt(measured.n or 1)  # the widest that a proportion of so many clips can have, in points


def _clips(folder: Path, plan: CellPlan) -> dict[str, Any] | None:
    """Return what each clip adds to a cell; None where the cell is not made of clips."""
    path = folder / "samples.jsonl"
    hits = plan.measure == "metric" and plan.options.get("metric") == "hit1"  # which is what a right clip means there
    if not (hits or plan.measure in (*SHARES, *MEANS)) or not path.is_file():
        return None
    samples = read_samples(path)
    suffix = f"@{plan.options['access']}" if "access" in plan.options else ""
    right = verdicts(samples, list(samples[0]["attacks"]))
    if plan.measure in MEANS:
        return _means(samples, right, plan)
    every = read_table(folder / "robustness.json").attacks  # controls enter neither mean nor union
    if "over" in plan.options:
        values = np.mean([right[name + suffix] for name in plan.options["over"]], axis=0)
    elif plan.column in ("mean", "union"):
        stacked = np.stack([right["clean"], *(right[name] for name in every)])
        values = stacked.mean(axis=0) if plan.column == "mean" else stacked.all(axis=0).astype(float)
    else:
        values = right[plan.column if plan.column == "clean" else plan.column + suffix].astype(float)
    kept: Sequence[int] = range(len(samples))
    if plan.measure == "fooling_rate":
        values, kept = 1 - values, [i for i in kept if right["clean"][i]]
    return {samples[i]["id"]: values[i] for i in kept}


def _means(samples: Sequence[Mapping[str, Any]], right: Mapping[str, NDArray[Any]], plan: CellPlan) -> dict[str, Any]:
    """Return iterations or perturbation of the clips that are fooled; with ``aap`` the limit for the others."""
    found: dict[str, Any] = {}
    for index, sample in enumerate(samples):
        row, fooled = sample["attacks"][plan.column], not right[plan.column][index]
        if right["clean"][index] and (fooled or plan.measure == "aap"):
            value = row["steps"] if plan.measure == "iterations" else row["distance"]
            found[sample["id"]] = float(value) if fooled else float(plan.options["limit"])
    return found

"""By how much one number of the tables is above another, or above what a statement needs, with a 95% interval.

A condition of a statement names a ``table`` and one of

- ``higher``, ``lower`` (rows, or row:column) and ``columns``, with a ``margin``; ``lower_table`` where the latter stand in
  another table; ``access`` where the higher ones are of an attacker who knows less;
- ``higher``, ``columns`` and ``above_access``: a cell's own access against all knowledge of the same run;
- ``rows``, ``columns`` and ``at_most`` or ``at_least``;
- ``gain`` and ``above_gain``, each two cells ``row:column``: what the first is above the second there, against the same here;
- for figures ``run``, ``score`` and ``path`` into the analysis, with ``at_most`` or ``at_least``: a number whose interval stands
  beside it as ``ci95`` or at ``interval``; ``less`` (and ``less_run``) lead to another one that is taken from it;
- for detectors ``auc``: two groups of ``index``, of which the former should be larger.
"""

from __future__ import annotations

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
from advvid.metrics.statistics import wilson
from advvid.studies.catalogue import find_target
from advvid.studies.cell import Measured
from advvid.studies.estimates import Estimate, drawn, minus, normal, over_seeds, paired
from advvid.studies.measured import follow
from advvid.studies.plan import CellPlan
from advvid.studies.resampled import difference
from advvid.studies.table import StudyTable

Tables = Mapping[str, StudyTable]
DRAWS = 2000
# Percentages of clips beyond which two rows cannot be told apart, whatever the methods.
FLOOR, CEILING = 5.0, 95.0
# Measures that are percentages of clips, and those that are means over clips in a unit of their own.
SHARES, MEANS = ("acc", "fooling_rate"), ("iterations", "perturbation", "aap")


def compare(condition: Mapping[str, Any], tables: Tables) -> list[dict[str, Any]] | None:
    """Return by how many points each comparison is above what is needed; None where a number is missing."""
    table = tables[condition["table"]]
    if "score" in condition:
        return _figure(condition, table)
    if "gain" in condition:
        return _gain(condition, table)
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
                estimate = _against_number(_alone(plans[0], measured[0]), condition)
            else:
                same_run = "above_access" in condition or "access" in condition
                estimate = _difference(plans, measured, same_run).above(needed)
            cost = needed < 0 and all(plan.column == "clean" for plan in plans)
            of = " less ".join(place for place, _, _ in cells)
            found.append(_found(of, estimate, measured, cost))
    return found


def _found(of: str, estimate: Estimate, measured: Sequence[Measured], cost: bool = False) -> dict[str, Any]:
    """Return a comparison as it is kept; ``cost``: that little clean accuracy was lost can be told at the ceiling too."""
    return {
        "of": of,
        "points": estimate.value,
        "ci95": list(estimate.ci95),
        "p": round(estimate.p, 6),
        "cannot_tell": "" if cost else at_an_end(estimate.shares),
        "runs": [str(run) for m in measured for run in _folders(m)],
    }


def at_an_end(shares: Sequence[float]) -> str:
    """Say at which end of the scale two percentages both are, where no difference can be seen; "" where one is not."""
    if len(shares) < 2:
        return ""
    return f"below {FLOOR:g}%" if max(shares) < FLOOR else f"above {CEILING:g}%" if min(shares) > CEILING else ""


def _gain(condition: Mapping[str, Any], table: StudyTable) -> list[dict[str, Any]] | None:
    """Compare two differences."""
    places, estimates, every = [], [], list[Measured]()
    for names in (condition["gain"], condition["above_gain"]):
        cells = [_cell(table, name, "") for name in names]
        measured = [m for _, _, m in cells if m is not None]
        if len(measured) < len(cells):
            return None
        places.append(" less ".join(place for place, _, _ in cells))
        estimates.append(_difference([plan for _, plan, _ in cells], measured, same_run=False))
        every += measured
    both = minus(*estimates)
    return [_found(f"({places[0]}) less ({places[1]})", both.above(float(condition.get("margin", 0))), every)]


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
        estimate = auc(*(follow(results[0], [path, group]) for group in condition["auc"]))
    else:
        estimate = _number(results[0], path, condition.get("interval"))
    if "less" in condition:
        estimate = minus(estimate, _number(results[1], str(condition["less"]), None))
    estimate = _against_number(estimate.times(float(condition.get("factor", 1))), condition)
    of = " less ".join(f"{run}/{condition['score']}" for run in runs)
    measured = [Measured(0, run=folders[run, condition["score"]]) for run in runs]
    return [_found(f"{of}: {condition['path']}", estimate, measured)]


def _number(result: Mapping[str, Any], path: str, interval: str | None) -> Estimate:
    steps = path.split("/")
    value = follow(result, steps)
    low, high = follow(result, (interval or "/".join([*steps[:-1], "ci95"])).split("/"))
    found = normal(float(value), (float(low), float(high)))
    return replace(found, shares=(100 * float(value),)) if steps[-1] in ("acc", "rate") else found


def auc(low: Sequence[float], high: Sequence[float]) -> Estimate:
    """Return how often a value of ``high`` is above one of ``low``, ties halved, bootstrapped over both.

    Raises:
        AdvvidError: if one of the groups is empty.
    """
    if not low or not high:
        raise AdvvidError("no clip is in one of the groups that are told apart: raise dataset.limit_test")
    one, two = np.array(low), np.array(high)
    above = (two[:, None] > one).astype(float) + 0.5 * (two[:, None] == one)
    random = np.random.default_rng(0)
    counts = [random.multinomial(n, np.full(n, 1 / n), size=DRAWS) / n for n in above.shape]
    return drawn(float(above.mean()), np.einsum("dh,hl,dl->d", counts[0], above, counts[1], optimize=True))


def _alone(plan: CellPlan, measured: Measured) -> Estimate:
    """Return a cell's own number; a proportion with Wilson's interval, several seeds with what they differ by."""
    if measured.each:
        vectors = [_clips(folder, plan) for folder in _folders(measured)]
        shared = _shared(vectors)
        if shared:
            return over_seeds(_matrix(vectors, shared)).times(_unit(plan))
    if plan.measure in SHARES and measured.n and measured.ci95:
        right, n = round(measured.value * measured.n / 100), measured.n

        def ends(level: float) -> tuple[float, float]:
            low, high = wilson(right, n, level)
            return 100 * low, 100 * high

        return Estimate(measured.value, ends)
    return normal(measured.value, measured.ci95 or (measured.value,) * 2)


def _against_number(estimate: Estimate, condition: Mapping[str, Any]) -> Estimate:
    if "at_most" in condition:
        return estimate.below(float(condition["at_most"]))
    return estimate.above(float(condition["at_least"]))


def _unit(plan: CellPlan) -> float:
    return 1.0 if plan.measure in MEANS else 100.0


def _folders(measured: Measured) -> list[Path]:
    """Return the evaluation behind a number, or of several seeds each."""
    return [Path(one["run"]) for one in measured.each] or [measured.run or Path()]


def _shared(vectors: Sequence[Mapping[str, Any] | None]) -> list[str]:
    """Return the clips that all have; none where one has no clips."""
    sets = [set(vector or ()) for vector in vectors]
    return sorted(set.intersection(*sets))


def _matrix(vectors: Sequence[Mapping[str, Any] | None], clips: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[vector[clip] for clip in clips] for vector in vectors if vector is not None], dtype=np.float64)


def _difference(plans: Sequence[CellPlan], measured: Sequence[Measured], same_run: bool) -> Estimate:
    """Return first minus second, in points or in the measure's unit, in pairs of clips where both have them."""
    folders = [_folders(m) for m in measured]
    vectors = [[_clips(folder, plan) for folder in every] for plan, every in zip(plans, folders, strict=True)]
    unit = _unit(plans[0])
    shared = _shared([*vectors[0], *vectors[1]])
    if shared:
        one, two = (_matrix(every, shared) for every in vectors)
        found = paired(one[0], two[0]) if len(one) == len(two) == 1 else over_seeds(one, two)
        means = (100 * float(one.mean()), 100 * float(two.mean()))
        return replace(found.times(unit), shares=means if unit != 1 else ())
    whole = difference([every[0] for every in folders], plans)
    if whole is not None:
        return whole
    if same_run:
        raise AdvvidError(
            "two accesses of one run are compared clip by clip, but its samples are missing: score it again"
        )
    if unit == 1:
        raise AdvvidError("no clip is fooled in both cells, so that their means cannot be compared")
    shares = tuple(m.value for m in measured) if all(plan.measure in (*SHARES, "json") for plan in plans) else ()
    return replace(minus(*(_in_points(m) for m in measured)), shares=shares)


def _in_points(measured: Measured) -> Estimate:
    """Return a number by itself; of one without interval, the widest that a proportion of so many clips can have."""
    half = 98 / (measured.n or 1) ** 0.5
    low, high = measured.ci95 or (measured.value - half, measured.value + half)
    half = (high - low) / 2
    return normal(measured.value, (measured.value - half, measured.value + half))


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

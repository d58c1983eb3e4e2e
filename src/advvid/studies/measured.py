"""Reads the number of one cell out of a finished evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from advvid.config.instantiate import safe_instantiate
from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.core.plain import read_json, read_lines
from advvid.evaluation.measures import average_absolute_perturbation, sparse_measures, survival
from advvid.evaluation.robustness import JSON, RobustnessTable
from advvid.evaluation.scores import Score
from advvid.evaluation.table_file import read_table
from advvid.evaluation.tally import read_samples
from advvid.metrics.statistics import wilson
from advvid.studies.cell import Measured
from advvid.studies.plan import CellPlan

Read = dict[str, Any]  # value, ci95, n and seed, as they stand in a file
BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "mean", "std")


def measure_all(folders: Sequence[Path], cell: CellPlan) -> Measured:
    """Return a cell's number in the paper's unit: the mean over folders of several seeds, with the lowest and the highest.

    Raises:
        AdvvidError: if an evaluation does not hold what the cell asks for.
    """
    found = [measure(folder, cell) for folder in folders]
    if len(found) == 1:
        return found[0]
    values = [one.value for one in found]
    parts = [one.to_json() for one in found]
    return replace(
        found[0],
        value=float(np.mean(values)),
        ci95=None,
        range=(min(values), max(values)),
        seeds=tuple(seed for one in found for seed in one.seeds),
        each=tuple({key: part[key] for key in ("seed", "value", "ci95", "run")} for part in parts),
    )


def measure(folder: Path, cell: CellPlan) -> Measured:
    """Return the number of one evaluation.

    Raises:
        AdvvidError: if the evaluation does not hold what the cell asks for.
    """
    if cell.measure not in MEASURES:
        raise AdvvidError(f"the measure {cell.measure!r} is not known: choose from {', '.join(MEASURES)}")
    found = MEASURES[cell.measure](folder, cell)
    if found["value"] is None:
        raise AdvvidError("no clip gives a number")
    return Measured.from_json({**found, "run": str(folder), "column": cell.column})


def _table(folder: Path) -> RobustnessTable:
    return read_table(folder / JSON)


def _scored(table: RobustnessTable, column: str) -> Score:
    """Return the score of a column.

    Raises:
        AdvvidError: if there is none, or the task has no right answers.
    """
    if column not in table.scores:
        raise AdvvidError(f"the evaluation has no column {column}: its suite leaves it out")
    return table[column]


def _accuracy(folder: Path, cell: CellPlan) -> Read:
    """Percent right. ``access`` asks for an attacker who knows less, ``over`` for the mean of several columns."""
    table, access = _table(folder), cell.options.get("access")
    common = {"n": table.n, "seed": table.seed}
    if "over" in cell.options:
        suffix = f"@{access}" if access else ""
        values = [100 * (_scored(table, name + suffix).acc or 0.0) for name in cell.options["over"]]
        return {**common, "value": float(np.mean(values))}
    column = f"{cell.column}@{access}" if access and cell.column != "clean" else cell.column
    score = _scored(table, column)
    ends = None if score.ci95 is None else [100 * end for end in score.ci95]
    return {**common, "value": None if score.acc is None else 100 * score.acc, "ci95": ends}


def _sparse(name: str) -> Callable[[Path, CellPlan], Read]:
    """A measure of DeepSAVA's paper; ``each`` divides by the number of clips."""

    def read(folder: Path, cell: CellPlan) -> Read:
        samples = read_samples(folder / "samples.jsonl")
        found = sparse_measures(samples, cell.column)
        common: Read = {"n": found.clips, "seed": _table(folder).seed}
        if name == "fooling_rate":
            if found.fooling_rate is None:
                raise AdvvidError("no clip is right without an attack: train the model longer")
            interval = wilson(round(found.fooling_rate * found.clips), found.clips)
            return {**common, "value": 100 * found.fooling_rate, "ci95": [100 * end for end in interval]}
        if name == "largest":
            distances = [line["attacks"][cell.column]["distance"] for line in samples if line["clean"] == line["label"]]
            return {**common, "value": max(distances, default=None)}
        if name == "aap":
            clean = [line["clean"] == line["label"] for line in samples]
            rows = [line["attacks"][cell.column] for line in samples]
            right = [row["pred"] == line["label"] for row, line in zip(rows, samples, strict=True)]
            far = [row["distance"] for row in rows]
            return {
                **common,
                "value": average_absolute_perturbation(clean, right, far, float(cell.options["limit"])),
            }
        value = {
            "iterations": found.iterations,
            "perturbation": found.success_perturbation,
            "seconds": found.seconds,
        }[name]
        if value is None:
            raise AdvvidError("the attack fooled no clip, so that there is nothing to average")
        return {**common, "value": value / found.clips if "each" in cell.options else value}

    return read


def _survival(folder: Path, cell: CellPlan) -> Read:
    """Percent of the clips that fooled and still fool after a codec."""
    still, fooled = survival(read_samples(folder / "samples.jsonl"), cell.column)
    if not fooled:
        raise AdvvidError("the attack fooled no clip, so that nothing can survive")
    common = {"n": fooled, "seed": _table(folder).seed}
    return {**common, "value": 100 * still / fooled, "ci95": [100 * end for end in wilson(still, fooled)]}


def _metric(folder: Path, cell: CellPlan) -> Read:
    """A metric of the task, such as GAP, in percent; ``factor`` is another unit."""
    table = _table(folder)
    metrics = _scored(table, cell.column).metrics
    name = str(cell.options["metric"])
    if name not in metrics:
        raise AdvvidError(f"the evaluation has no metric {name}: it has {', '.join(metrics)}")
    factor = float(cell.options.get("factor", 100))
    return {"n": table.n, "seed": table.seed, "value": factor * float(metrics[name])}


def _weights(folder: Path, cell: CellPlan) -> Read:
    """The trained network's weights in millions."""
    state = checkpoint.weights(checkpoint.load(checkpoint.find(folder.parent.parent)))
    kept = [v for k, v in state.items() if not k.endswith(BUFFERS)]
    return {"n": None, "seed": _table(folder).seed, "value": sum(v.numel() for v in kept) / 1e6}


def _passes(folder: Path, _: CellPlan) -> Read:
    """Forward-backward passes of a clip over the whole training, in thousands."""
    last = read_lines(folder.parent.parent / "metrics.jsonl")[-1]
    return {"n": None, "seed": _table(folder).seed, "value": last["total_passes"] / 1000}


def _minutes(folder: Path, _: CellPlan) -> Read:
    """Minutes of computing that a training and its evaluation took."""
    spent = [float(read_json(place / "done.json")["seconds"]) for place in (folder.parent.parent, folder)]
    return {"n": None, "seed": _table(folder).seed, "value": sum(spent) / 60}


def _constant(folder: Path, _: CellPlan) -> Read:
    """Percent right of the best constant answer; where clips have several labels, one of them."""
    given = [line["label"] for line in read_samples(folder / "samples.jsonl")]
    counts = np.bincount(np.concatenate([label if isinstance(label, list) else [label] for label in given]))
    return {"n": len(given), "seed": _table(folder).seed, "value": 100 * float(counts.max()) / len(given)}


def _copied(folder: Path, cell: CellPlan) -> Read:
    """Mean squared error of showing the last frame again where the next one is to be predicted; ``factor`` is its unit."""
    table = _table(folder)
    data = safe_instantiate(OmegaConf.create({"dataset": table.config["dataset"]}).dataset)
    split = data.split("test")
    pairs = [split[index][:2] for index in range(len(split))]
    errors = [((one.float() - two.float()) / 255).square().mean().item() for one, two in pairs]
    return {
        "n": len(split),
        "seed": table.seed,
        "value": float(cell.options.get("factor", 1)) * float(np.mean(errors)),
    }


def _json(folder: Path, cell: CellPlan) -> Read:
    """A number of an analysis: ``path`` leads to it, ``key=value`` picks from a list; ``factor`` is its unit."""
    analysis, _, path = str(cell.options["path"]).partition("/")
    result = read_json(folder / "analysis" / f"{analysis}.json")
    factor = float(cell.options.get("factor", 1))
    steps = path.split("/")
    parent = follow(result, steps[:-1])
    value = follow(parent, steps[-1:])
    if value is None:
        raise AdvvidError("the analysis has no value there: no clip gives one")
    interval = parent.get("ci95") if isinstance(parent, Mapping) and steps[-1] in ("acc", "rate", "mean") else None
    n = result.get("n")
    return {
        "n": n if isinstance(n, int) else None,
        "seed": result["seed"],
        "value": factor * float(value),
        "ci95": [factor * end for end in interval] if interval else None,
    }


def follow(node: Any, steps: list[str]) -> Any:
    """Walk into nested mappings and lists; ``key=value`` picks the element of a list whose key has that value.

    Raises:
        AdvvidError: if there is no such place.

    Example:
        >>> follow({"rows": [{"label": "a", "acc": 1}]}, ["rows", "label=a", "acc"])
        1
    """
    for step in steps:
        if isinstance(node, list) and "=" in step:
            key, _, wanted = step.partition("=")
            node = next((item for item in node if _same(item.get(key), wanted)), None)
        elif isinstance(node, list) and step.isdigit() and int(step) < len(node):
            node = node[int(step)]
        elif isinstance(node, Mapping) and step in node:
            node = node[step]
        else:
            raise AdvvidError(f"the analysis has no place {'/'.join(steps)}")
    return node


def _same(value: Any, wanted: str) -> bool:
    if isinstance(value, float | int):
        return abs(float(value) - float(wanted)) < 1e-9
    return str(value) == wanted


MEASURES: Mapping[str, Callable[[Path, CellPlan], Read]] = {
    "acc": _accuracy,
    **{name: _sparse(name) for name in ("fooling_rate", "iterations", "perturbation", "seconds", "aap", "largest")},
    "survival": _survival,
    "metric": _metric,
    "weights": _weights,
    "json": _json,
    "passes": _passes,
    "minutes": _minutes,
    "constant": _constant,
    "copied": _copied,
}

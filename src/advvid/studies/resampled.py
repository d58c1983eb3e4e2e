"""How far two models' metrics of a whole split are apart, in pairs of videos: GAP is no mean over them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from advvid.evaluation.cells import Cell
from advvid.evaluation.evaluator import CLEAN
from advvid.evaluation.tally import read_samples
from advvid.studies.estimates import Estimate, drawn
from advvid.studies.plan import CellPlan
from advvid.tasks.multi_label import gap, hit_at_one, perr

METRICS: Mapping[str, Callable[[Tensor, Tensor], float]] = {"gap": gap, "perr": perr, "hit1": hit_at_one}
DRAWS = 1000


def difference(folders: Sequence[Path], plans: Sequence[CellPlan]) -> Estimate | None:
    """Return the first cell's metric minus the second one's, bootstrapped over videos.

    Each draw takes the same videos for both. In percent.

    Args:
        folders: of the two evaluations.
        plans: their cells.

    Returns:
        None where the cells are no such metrics, or were not scored on the same videos.

    Example:
        >>> difference([Path("none"), Path("art")], plans).ci95          # doctest: +SKIP
        (-7.0, -1.3)
    """
    names = {str(plan.options.get("metric")) if plan.measure == "metric" else "" for plan in plans}
    metric = METRICS.get(names.pop()) if len(names) == 1 else None
    if metric is None:
        return None
    found = [_outputs(folder, plan.column) for folder, plan in zip(folders, plans, strict=True)]
    if found[0] is None or found[1] is None or found[0][0] != found[1][0]:
        return None
    (_, one, targets), (_, two, _) = found[0], found[1]
    random = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS):
        index = torch.from_numpy(random.integers(len(targets), size=len(targets)))
        draws.append(metric(one[index], targets[index]) - metric(two[index], targets[index]))
    ends = (metric(one, targets), metric(two, targets))
    result = drawn(ends[0] - ends[1], draws).times(100)
    # Of the metrics Hit@1 alone is a percentage of clips, which says nothing where both are next to 0 or 100.
    return replace(result, shares=(100 * ends[0], 100 * ends[1])) if metric is hit_at_one else result


def _outputs(folder: Path, column: str) -> tuple[list[str], Tensor, Tensor] | None:
    """Return names, outputs ``[n, K]`` and labels ``[n, K]`` of an evaluation's videos, from what it kept of a column."""
    if not (folder / "samples.jsonl").is_file():
        return None
    samples = read_samples(folder / "samples.jsonl")
    answers = [line["clean"] if column == CLEAN else line["attacks"][column]["pred"] for line in samples]
    batches = _batches(folder, column, answers, [line["id"] for line in samples])
    rows = [line["label"] for line in samples]
    if batches is None or not all(isinstance(row, list) for row in rows):
        return None
    outs = torch.from_numpy(np.concatenate([batch["out"] for batch in batches]))
    targets = torch.zeros(outs.shape[0], outs.shape[1], dtype=torch.bool)
    for target, row in zip(targets, rows, strict=True):
        target[row] = True
    return [line["id"] for line in samples], outs, targets


def _batches(folder: Path, column: str, answers: Sequence[int], ids: Sequence[str]) -> list[Cell] | None:
    """Return a column's batches in the videos' order. Evaluations may share what they keep: it is the one with these answers."""
    # A batch's file is named by what is in its clips, for every column alike; the clean one holds their names.
    place = {clip: number for number, clip in enumerate(ids)}
    first = {}
    for path in (folder / "cells").glob(f"{CLEAN}-*/*.npz"):
        with np.load(path, allow_pickle=False) as file:
            first[path.name] = place.get(str(file["id"][0]), len(ids))
    for found in sorted((folder / "cells").glob(f"{column}-*")):
        if not re.fullmatch(r"[0-9a-f]{16}", found.name[len(column) + 1 :]):
            continue
        batches: list[Cell] = []
        for path in sorted(found.glob("*.npz"), key=lambda path: first.get(path.name, len(ids))):
            with np.load(path, allow_pickle=False) as file:
                batches.append({key: file[key] for key in file.files})
        if batches and np.concatenate([batch["pred"] for batch in batches]).tolist() == list(answers):
            return batches
    return None

"""Adversarial clips made on one model and scored on all, in cells that a kill does not lose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advvid.analyses.base import Context
from advvid.analyses.batches import no_answers
from advvid.analyses.scored import Scored
from advvid.attacks.base import Attack
from advvid.core import digests
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.finite import require_finite
from advvid.core.progress import bar
from advvid.evaluation.cells import Cell, Cells
from advvid.evaluation.columns import Column, craft
from advvid.evaluation.fitting import fit_columns


@dataclass(frozen=True)
class Row:
    """One surrogate's clips, as every target sees them.

    Shape:
        distance, gradient_calls: ``[n]``; right (bool) and margin: ``[n]`` by the target's key.
    """

    distance: NDArray[np.floating[Any]]
    gradient_calls: NDArray[np.integer[Any]]
    right: dict[str, NDArray[np.bool_]]
    margin: dict[str, NDArray[np.floating[Any]]]

    @property
    def cost(self) -> dict[str, float]:
        """The largest distance and all gradients, as results hold them."""
        return {"max_distance": float(self.distance.max()), "gradient_calls": int(self.gradient_calls.sum())}


def clean_row(context: Context, targets: Sequence[Scored]) -> Row:
    """Score the clips themselves on every target."""
    return _walk(context, None, None, targets)


def crafted_row(
    context: Context, attack: Attack, surrogate: Scored, targets: Sequence[Scored], name: str | None = None
) -> Row:
    """Make every clip's adversarial form once, on the surrogate, and score it on every target.

    Each clip is held against the attack's threat before it counts, and predicted in fp32. Random numbers depend on
    (seed, the attack's column, clip id) alone: the same ones on every surrogate, and the ones of the run's table. An
    attack that learns does so on the surrogate. What was done before in this run folder is read from there.

    Args:
        context: of the analysis.
        attack: run on the surrogate as its white box.
        surrogate: that clips are made on.
        targets: that they are scored on.
        name: of the attack's column; the run's where None.

    Raises:
        AdvvidError: if a clip leaves its threat, or the attack changes the surrogate.
    """
    column = fit_columns(
        [Column(name or context.attack_name, attack)],
        surrogate.model,
        context.learning_batches,
        lambda: context.learning_clips,
        context.task,
        context.seed,
        context.cells / surrogate.key,
    )[0]
    return _walk(context, column, surrogate, targets)


def _walk(context: Context, column: Column | None, surrogate: Scored | None, targets: Sequence[Scored]) -> Row:
    """Go through the batches of which some target's cell is missing, and return all."""
    ids, size = list(context.split.ids), context.batch_size
    made: tuple[object, ...] = ("clean",)
    if column is not None and surrogate is not None:
        made = (surrogate.key, column.rests_on, context.seed)
    folder = context.cells / ("clean" if surrogate is None else surrogate.key)
    keys = {target.key: digests.of_values(made, target.key, context.settings) for target in targets}
    cells = Cells(folder, keys, context.clips.batches(size))
    missing = {number: cells.missing(number) for number in range(len(cells.batches))}
    todo = [number for number in missing if missing[number]]
    left = sum(len(ids[n * size : (n + 1) * size]) for n in todo)
    with bar("no attack" if surrogate is None else f"on {surrogate.label}", len(ids), len(ids) - left) as progress:
        for number, batch in zip(todo, context.batches(todo), strict=True):
            clips, spent = _clips(context, column, surrogate, batch)
            for target in targets:
                if target.key in missing[number]:
                    cells.write(target.key, number, spent | _verdicts(context, target, clips, batch))
            progress.advance(len(batch))
    found: dict[str, Cell] = {target.key: cells.column(target.key) for target in targets}
    first = found[targets[0].key]
    if first["id"].tolist() != ids:
        raise AdvvidError(f"{folder} does not hold every clip exactly once: remove it and run the analysis again")
    return Row(
        first["distance"],
        first["gradient_calls"],
        {key: cell["right"] for key, cell in found.items()},
        {key: cell["margin"] for key, cell in found.items()},
    )


def _clips(
    context: Context, column: Column | None, surrogate: Scored | None, batch: Batch
) -> tuple[Tensor, dict[str, Tensor | NDArray[Any]]]:
    """Return a batch's adversarial clips, checked, and what they cost; its own clips where there is no attack."""
    none = torch.zeros(len(batch), dtype=torch.int64)
    clips, distance, calls = batch.inputs, none.float(), none
    if column is not None and surrogate is not None:
        result, distance = craft(
            column, surrogate.model, batch.inputs, batch.target, batch.ids, context.seed, context.task
        )
        clips, calls = result.x_adv, result.gradient_calls
    return clips, {"id": np.array(batch.ids), "distance": distance, "gradient_calls": calls}


def _verdicts(context: Context, target: Scored, clips: Tensor, batch: Batch) -> dict[str, Tensor]:
    with torch.no_grad(), torch.autocast(context.device.type, enabled=False):
        out = target.model(clips.float()).float()
    require_finite(out, batch.ids, f"those scored on {target.label}")
    right, margin = context.task.correct(out, batch.target), context.task.margin(out, batch.target)
    if right is None or margin is None:
        raise no_answers(context)
    return {"right": right, "margin": margin}

"""What analyses do batch by batch: keep each one's numbers where a kill does not lose them, and ask what is right."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from advvid.analyses.base import Context
from advvid.core import digests, files
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.progress import bar
from advvid.data.content import Contents
from advvid.data.loader import Clips, eval_batches


def by_batch(
    context: Context, clips: Clips, name: str, made: object, title: str, compute: Callable[[Batch], Mapping[str, Any]]
) -> list[Any]:
    """Return what ``compute`` gives for every batch, as JSON keeps it; what this run folder holds already is read.

    Args:
        context: of the analysis.
        clips: of which the batches are.
        name: of the folder in the run's cells.
        made: all that the numbers rest on besides the clips, the seed and the context's settings, as plain values.
        title: of the progress bar.
        compute: makes plain values of a batch on the device.
    """
    size, ids = context.batch_size, list(clips.ids)
    key = digests.of_values(made, context.seed, context.settings)[:16]
    content = context.clips if clips is context.split else Contents.of(clips)
    paths = [context.cells / f"{name}-{key}" / f"{batch}.json" for batch in content.batches(size)]
    todo = [number for number, path in enumerate(paths) if not path.is_file()]
    left = sum(len(ids[number * size : (number + 1) * size]) for number in todo)
    with bar(title, len(ids), len(ids) - left) as progress:
        for number, batch in zip(todo, eval_batches(clips, size, todo, workers=context.workers), strict=True):
            files.write_json(paths[number], _computed(context, compute, batch.to(context.device)), indent=None)
            progress.advance(len(batch))
    return [json.loads(path.read_text()) for path in paths]


def _computed(context: Context, compute: Callable[[Batch], Mapping[str, Any]], batch: Batch) -> Mapping[str, Any]:
    values = compute(batch)
    context.require_finite(batch)  # before anything is kept
    return values


def right_clips(context: Context, model: nn.Module, clips: Tensor, labels: Tensor) -> Tensor:
    """Return which clips a model gets right, ``bool [B]``.

    Raises:
        AdvvidError: if the task has no right answers.
    """
    with torch.no_grad():
        right = context.task.correct(model(clips), labels)
    if right is None:
        raise no_answers(context)
    return right


def no_answers(context: Context) -> AdvvidError:
    """Return the refusal of a task in which nothing is right or wrong."""
    return AdvvidError(f"analysis={context.name} needs a task with right answers: choose the run of a classifier")

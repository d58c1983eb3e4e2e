"""The loss that PGD reaches for each step size and number of steps, clip by clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from advvid.analyses.base import Context
from advvid.core import digests
from advvid.core.batch import Batch, clip_generators
from advvid.core.errors import AdvvidError
from advvid.evaluation.cells import Cells
from advvid.tasks.base import Task
from advvid.threats.balls import LinfBall

Losses = NDArray[np.float64]


def check_grid(values: Sequence[float], name: str) -> None:
    """Refuse an empty grid, or one with a value that is not above zero."""
    if not values or min(values) <= 0:
        raise AdvvidError(f"analysis.{name} needs numbers above 0 but has {list(values)}: give a list such as [1,5,20]")


def step_losses(
    context: Context, eps: float, sizes: Sequence[float], steps: Sequence[int], model: nn.Module | None = None
) -> Losses:
    """Return the losses after PGD in the l-inf ball (Kinfu & Vidal, eq. 3).

    One search per step size is followed to the end, and its loss is noted on the way: what PGD with fewer steps and the
    same start would give. Finished batches are kept in the run folder.

    Args:
        context: of the analysis.
        eps: the budget, in [0, 1].
        sizes: step sizes, in [0, 1].
        steps: numbers of steps, rising.
        model: another one than the context's.

    Shape:
        result: ``[n, sizes, steps]``.
    """
    network = (model or context.model).eval()
    made = (digests.of_module(network), eps, list(sizes), list(steps), context.seed, context.settings)
    name = f"losses_{eps:.5f}"
    cells = Cells(context.cells, {name: digests.of_values(made)}, context.clips.batches(context.batch_size))
    todo = [number for number in range(len(cells.batches)) if cells.missing(number)]
    for number, batch in zip(todo, context.batches(todo), strict=True):
        found = torch.stack([_search(context, network, batch, eps, size, steps) for size in sizes], dim=1)
        cells.write(name, number, {"losses": found})
    return np.asarray(cells.column(name)["losses"], dtype=np.float64)


def _search(context: Context, model: nn.Module, batch: Batch, eps: float, size: float, steps: Sequence[int]) -> Tensor:
    """Return the losses ``[B, steps]`` along one search; the start is the same for all step sizes."""
    threat, clips, task = LinfBall(eps, context.attack.space), batch.inputs, context.task
    generators = clip_generators(context.seed, f"surface/{eps:.5f}", batch.ids)
    x_adv, noted = threat.random_start(clips, generators).detach(), []
    for step in range(1, max(steps) + 1):
        x_adv.requires_grad_(True)
        (grad,) = torch.autograd.grad(_loss(task, model, x_adv, batch.target).sum(), x_adv)
        with torch.no_grad():
            x_adv = threat.project(threat.ascend(x_adv.detach(), grad, size), clips)
            if step in steps:
                noted.append(_loss(task, model, x_adv, batch.target))
    return torch.stack(noted, dim=1)


def _loss(task: Task, model: nn.Module, clips: Tensor, target: Tensor) -> Tensor:
    return task.loss(model(clips), target)

"""Contact sheets of the clips that an evaluation attacks first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from advvid.core.batch import Batch
from advvid.evaluation.columns import Column
from advvid.tasks.base import Task
from advvid.visuals.pictures import contact_sheet
from advvid.visuals.prediction_sheets import prediction_sheet


class Sheets:
    """Draws one PNG per column from the first batch and remembers where it lies.

    Args:
        run_dir: pictures go to its ``pictures/`` folder.
        classes: names of the classes.
        clips: on each sheet; those that were right before the attack come first.
        task: what the model's outputs mean.
    """

    def __init__(self, run_dir: Path, classes: Sequence[str], clips: int, task: Task) -> None:
        self.folder, self.classes, self.clips, self.task = run_dir / "pictures", list(classes), clips, task
        self.paths: dict[str, Path] = {p.stem: p for p in sorted(self.folder.glob("*.png"))}

    def add(self, column: Column, batch: Batch, x_adv: Tensor, clean: Tensor, attacked: Tensor) -> None:
        """Draw the sheet of a column; features have no picture and give none.

        Shape:
            x_adv: like ``batch.inputs``; clean, attacked: the model's outputs, ``[B, ...]``.
        """
        if batch.inputs.dim() != 5:
            return
        path, budget = self.folder / f"{column.name}.png", column.attack.threat.budget
        if clean.shape == batch.inputs.shape:  # frames are predicted
            first = slice(self.clips)
            prediction_sheet(
                path, batch.inputs[first], x_adv[first], batch.target[first], clean[first], attacked[first], self.task,
                column.name, budget,
            )  # fmt: skip
        else:
            before, after = self.task.predict(clean), self.task.predict(attacked)
            wrong_first = (before != batch.target).int() * 2 + (after == batch.target).int()
            order = torch.argsort(wrong_first, stable=True)[: self.clips]
            contact_sheet(
                path, batch.inputs[order].cpu(), x_adv[order].cpu(), batch.target[order].tolist(), before[order].tolist(),
                after[order].tolist(), self.classes, column.name, budget,
            )  # fmt: skip
        self.paths[column.name] = path

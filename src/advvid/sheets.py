"""Contact sheets of the clips that an evaluation attacks first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from advvid.batch import Batch
from advvid.columns import Column
from advvid.pictures import contact_sheet


class Sheets:
    """Draws one PNG per column from the first batch and remembers where it lies.

    Args:
        run_dir: pictures go to its ``pictures/`` folder.
        classes: names of the classes.
        clips: rows on each sheet; clips that were right before the attack come first.
    """

    def __init__(self, run_dir: Path, classes: Sequence[str], clips: int) -> None:
        self.folder, self.classes, self.clips = run_dir / "pictures", list(classes), clips
        self.paths: dict[str, Path] = {p.stem: p for p in sorted(self.folder.glob("*.png"))}

    def add(self, column: Column, batch: Batch, x_adv: Tensor, before: Tensor, after: Tensor) -> None:
        """Draw the sheet of a column; features have no picture and give none.

        Shape:
            x_adv: like ``batch.inputs``; before, after: predicted classes ``[B]``.
        """
        if batch.inputs.dim() != 5:
            return
        wrong_first = (before != batch.target).int() * 2 + (after == batch.target).int()
        order = torch.argsort(wrong_first, stable=True)[: self.clips]
        path = self.folder / f"{column.name}.png"
        contact_sheet(
            path, batch.inputs[order].cpu(), x_adv[order].cpu(), batch.target[order].tolist(), before[order].tolist(),
            after[order].tolist(), self.classes, column.name, column.attack.threat.budget,
        )  # fmt: skip
        self.paths[column.name] = path

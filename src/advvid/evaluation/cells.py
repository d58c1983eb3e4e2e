"""What an evaluation has computed so far: one small file per column and batch, so that nothing is computed twice."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advvid.core import files
from advvid.core.later import on_host

SAMPLES = "samples.jsonl"
Cell = Mapping[str, NDArray[Any]]


class Cells:
    """The finished cells of a table, under ``cells/<column>-<key>/<clips>.npz`` of a run folder.

    A cell is written whole or not at all, by whichever process computed it. Its key covers the model, the attack and
    whatever else its numbers rest on, its name the content of its clips, so that an evaluation that was killed,
    extended by a column or changed in one setting computes exactly what is missing.

    Args:
        run_dir: the run folder.
        keys: a digest of what each column rests on besides the clips, by column name.
        batches: a digest of the clips of each batch of the split, see ``advvid.data.content.Contents``.
    """

    def __init__(self, run_dir: Path, keys: Mapping[str, str], batches: Sequence[str]) -> None:
        self.batches = list(batches)
        self.folders = {name: run_dir / "cells" / f"{name.replace('/', '_')}-{key[:16]}" for name, key in keys.items()}

    def missing(self, batch: int) -> list[str]:
        """Return the columns that have no readable cell for a batch."""
        return [name for name in self.folders if self.read(name, batch) is None]

    def read(self, name: str, batch: int) -> Cell | None:
        """Return a cell, or None where it is absent or damaged."""
        try:
            with np.load(self._path(name, batch), allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def write(self, name: str, batch: int, cell: Mapping[str, Tensor | NDArray[Any]]) -> None:
        """Store a cell under its name when it is complete."""
        tensors = on_host({key: value for key, value in cell.items() if isinstance(value, Tensor)})
        arrays = {k: tensors[k].numpy() if isinstance(v, Tensor) else np.asarray(v) for k, v in cell.items()}
        files.write_arrays(self._path(name, batch), arrays)

    def column(self, name: str) -> Cell:
        """Return a column over all batches, each array joined along the clips."""
        cells = [self.read(name, batch) for batch in range(len(self.batches))]
        found = [cell for cell in cells if cell is not None]
        assert len(found) == len(cells), "every cell of a finished evaluation is on the disk"
        return {key: np.concatenate([cell[key] for cell in found]) for key in found[0]}

    def _path(self, name: str, batch: int) -> Path:
        return self.folders[name] / f"{self.batches[batch]}.npz"


def write_samples(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write ``samples.jsonl``, a line per clip, whole or not at all."""
    files.write_text(path, "".join(json.dumps(line) + "\n" for line in lines))


def outputs_of(cell: Cell) -> Tensor:
    """Return the model's outputs that a column's cells hold, ``[n, ...]``."""
    return torch.from_numpy(np.ascontiguousarray(cell["out"]))

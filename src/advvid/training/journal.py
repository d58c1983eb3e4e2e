"""``metrics.jsonl``: a line per epoch, which a resumed run continues where its checkpoint is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advvid.core import files
from advvid.tracking.trackers import Tracker


class Journal:
    """Writes each epoch's line to the run folder and its numbers to the tracker.

    Args:
        run_dir: where ``metrics.jsonl`` lies.
        tracker: receives the curves.
        active: whether this process writes; of several only the first one does.
    """

    def __init__(self, run_dir: Path, tracker: Tracker, active: bool = True) -> None:
        self.path, self.tracker, self.active = run_dir / "metrics.jsonl", tracker, active

    def write(self, line: Mapping[str, Any]) -> None:
        """Add an epoch's line."""
        if not self.active:
            return
        files.append_line(self.path, json.dumps(line))
        numbers = {k: v for k, v in line.items() if isinstance(v, int | float)}
        for name, value in line.get("probabilities", {}).items():
            numbers[f"probability/{name}"] = value
        self.tracker.log(numbers, step=line["epoch"])

    def rewind(self, epoch: int) -> None:
        """Drop the lines of epochs after this one, which a resumed run writes again."""
        if self.active and self.path.is_file():
            kept = [line for line in self.path.read_text(errors="replace").split("\n") if _epoch(line) <= epoch]
            files.write_text(self.path, "".join(f"{line}\n" for line in kept))


def summary_line(line: Mapping[str, Any], epochs: int) -> str:
    """Return an epoch's line in short, for the terminal; ``metrics.jsonl`` has all of it.

    Example:
        >>> summary_line({"epoch": 3, "loss": 0.4123, "val_acc": 0.84, "val_robust_acc": 0.4, "clips_per_s": 61.2}, 60)
        'epoch 3/60: loss 0.412, validation 84.0% clean, 40.0% robust, 61.2 clips/s'
    """
    said = [f"loss {line['loss']:.3g}"]
    if "val_loss" in line and line["val_acc"] is None:
        said.append(f"validation loss {line['val_loss']:.3g} clean, {line['val_robust_loss']:.3g} robust")
    elif "val_loss" in line:
        said.append(f"validation {line['val_acc']:.1%} clean, {line['val_robust_acc']:.1%} robust")
    said.append(f"{line['clips_per_s']:.3g} clips/s")
    return f"epoch {line['epoch']}/{epochs}: {', '.join(said)}"


def _epoch(line: str) -> float:
    """Return the epoch of a line; one cut short by a kill counts as never written."""
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return math.inf

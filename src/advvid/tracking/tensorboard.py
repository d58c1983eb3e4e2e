"""TensorBoard: curves, pictures and tables, in the run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advvid.core.errors import AdvvidError


class TensorboardTracker:
    """Keeps the record in ``<run folder>/tensorboard``; ``tensorboard --logdir <folder of runs>`` shows it.

    A resumed run goes on with its curves: points from its first step on replace those that were there.

    Example:
        >>> tracker = TensorboardTracker()                  # doctest: +SKIP
        >>> tracker.start(Path("/tmp/run"), {}, "demo")     # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._writer: Any = None
        self._step = 0

    def start(self, run_dir: Path, config: Mapping[str, Any], name: str) -> None:
        """Make sure that the record can be written.

        Raises:
            AdvvidError: without the package tensorboard.
        """
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError as error:
            raise AdvvidError(
                f"tracker=tensorboard needs tensorboard ({error}): pip install 'advvid[tensorboard]'"
            ) from None
        self._folder = run_dir / "tensorboard"

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Add a point to each curve."""
        writer, self._step = self._open(step), step
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Add a table as text."""
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join(f"| {' | '.join('' if cell is None else str(cell) for cell in line)} |" for line in lines)
        self._open().add_text(name, text, self._step)

    def image(self, name: str, path: Path) -> None:
        """Add a picture file."""
        import numpy as np
        from PIL import Image

        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self._open().add_image(name, pixels, self._step, dataformats="HWC")

    def video(self, name: str, path: Path) -> None:
        """Do nothing: films lie in the run folder."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Add the final values as points."""
        for name, value in values.items():
            if isinstance(value, int | float):
                self._open().add_scalar(name, value, self._step)

    def artifact(self, kind: str, paths: Sequence[Path]) -> None:
        """Do nothing: the files lie in the run folder."""

    def finish(self) -> None:
        """Close the record."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self, step: int | None = None) -> Any:
        if self._folder is None:
            raise AdvvidError("the TensorBoard tracker is not started: call start(run_dir, config, name) first")
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(self._folder, purge_step=step)
        return self._writer

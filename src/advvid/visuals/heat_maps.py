"""Heat maps of sweeps over two settings."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from advvid.core import files


def heat_map(
    path: Path,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    row_name: str,
    column_name: str,
    title: str,
) -> None:
    """Write a PNG of accuracies over two settings, the percentage written in every cell.

    Shape:
        values: ``[rows, columns]`` fractions in [0, 1]; NaN where no run is.
    """
    figure = Figure(
        figsize=(1.6 + 0.85 * max(len(columns), 3), 1.3 + 0.5 * max(len(rows), 2)), dpi=130, layout="constrained"
    )
    axes = figure.add_subplot()
    image = axes.imshow(100 * values, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    # Between two dollars Matplotlib reads formulas, and refuses most of them.
    columns, rows = ([text.replace("$", r"\$") for text in names] for names in (columns, rows))
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel(column_name.replace("$", r"\$"))
    axes.set_ylabel(row_name.replace("$", r"\$"))
    axes.set_title(title.replace("$", r"\$"), size=10)
    for (i, j), value in np.ndenumerate(values):
        text = "no run" if math.isnan(value) else f"{100 * value:.1f}"
        dark = not math.isnan(value) and value < 0.6
        axes.text(j, i, text, ha="center", va="center", color="white" if dark else "black", size=9)
    figure.colorbar(image, ax=axes, label="percent right")
    # The Agg canvas is used directly: pyplot would keep every figure alive and may want a display.
    held = io.BytesIO()
    FigureCanvasAgg(figure).print_png(held)
    files.write_bytes(path, held.getvalue())

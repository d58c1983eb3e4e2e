"""What pictures are made of: strips of frames below each other, and heat maps of sweeps."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from advvid.core import files

# Blue and vermilion stay apart for every kind of colour vision; the words carry the meaning, the colour helps.
RIGHT, WRONG, QUIET = "#0072b2", "#d55e00", "#666666"
MOST_CLIPS, MOST_FRAMES = 4, 8
FRAME = 1.15  # inches
TEXT = 2.45  # inches beside the frames
DPI = 110


@dataclass(frozen=True)
class Strip:
    """One row of a sheet: frames ``[T, H, W, C]`` in [0, 1], C being 1 or 3, what they are, and words in a colour."""

    frames: np.ndarray
    name: str
    words: str = ""
    colour: str = QUIET


def changed(change: np.ndarray, factor: int, any_change: bool) -> Strip:
    """Return the row that shows a change ``[T, H, W, C]`` around mid-grey, magnified."""
    words = f"magnified × {factor}" if any_change else "no change at all"
    return Strip(np.clip(0.5 + factor * change, 0, 1), "difference", words)


def draw_sheet(path: Path, title: str, said: str, blocks: Sequence[tuple[str, Sequence[Strip]]]) -> None:
    """Write a PNG of strips below each other, a block of them per clip.

    Args:
        path: of the PNG.
        title: heading.
        said: what stands below it.
        blocks: the text beside each clip's first row, and its rows; all have as many rows and frames.
    """
    rows = len(blocks[0][1])
    count, height, width = blocks[0][1][0].frames.shape[:3]
    tall = FRAME * height / width
    figure = Figure(
        figsize=(TEXT + count * FRAME + 0.1, 0.62 + len(blocks) * (rows * tall + 0.22)), dpi=DPI, facecolor="white"
    )
    total = figure.get_size_inches()
    figure.text(0.12 / total[0], 1 - 0.27 / total[1], title, size=14, weight="bold", va="center")
    figure.text(0.12 / total[0], 1 - 0.49 / total[1], said, size=9, color=QUIET, va="center")
    for i, (beside, strips) in enumerate(blocks):
        top = total[1] - 0.62 - i * (rows * tall + 0.22)
        figure.text(0.12 / total[0], (top - 0.14) / total[1], beside, size=10, va="center")
        for row, strip in enumerate(strips):
            bottom = top - (row + 1) * tall
            axes = figure.add_axes((TEXT / total[0], bottom / total[1], count * FRAME / total[0], tall / total[1]))
            axes.imshow(_in_a_row(strip.frames), interpolation="nearest", aspect="auto", cmap="gray", vmin=0, vmax=1)
            axes.set_axis_off()
            middle, lift = (bottom + tall / 2) / total[1], 0.11 / total[1]
            figure.text(0.12 / total[0], middle + lift, strip.name, size=8, color=QUIET, va="center")
            figure.text(
                0.12 / total[0], middle - lift, strip.words, size=10, color=strip.colour, weight="bold", va="center"
            )
    _save(figure, path)


def magnification(largest: float) -> int:
    """Return the power of two that brings the largest change into the upper half of the drawable range.

    Example:
        >>> magnification(8 / 255), magnification(1.0), magnification(0.0)
        (8, 1, 1)
    """
    return 1 if largest <= 0 else max(1, 2 ** min(8, math.floor(math.log2(0.5 / largest) + 1e-6)))


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
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    # The Agg canvas is used directly: pyplot would keep every figure alive and may want a display.
    held = io.BytesIO()
    FigureCanvasAgg(figure).print_png(held)
    files.write_bytes(path, held.getvalue())


def shown_frames(frames: int) -> Tensor:
    """Return the numbers of the frames on a sheet, int64: evenly spaced, at most eight."""
    return torch.linspace(0, frames - 1, min(MOST_FRAMES, frames)).round().long()


def strips(clips: Tensor, frames: Tensor) -> np.ndarray:
    """Turn ``[N, C, T, H, W]`` into ``[N, frames, H, W, C]`` float32 on the host, cut to [0, 1]."""
    chosen = clips.detach().float().cpu()[:, :, frames]
    return chosen.clamp(0, 1).permute(0, 2, 3, 4, 1).numpy()


def _in_a_row(frames: np.ndarray) -> np.ndarray:
    """``[frames, H, W, C]`` to one wide picture, enlarged, with a white gap around each frame."""
    zoom = max(1, round(224 / frames.shape[1]))
    gap = max(1, round(zoom * frames.shape[1] * 0.02))
    large = frames.repeat(zoom, axis=1).repeat(zoom, axis=2)
    padded = np.pad(large, ((0, 0), (gap, gap), (gap, gap), (0, 0)), constant_values=1.0)
    return np.concatenate(list(padded), axis=1)

"""Figures of analyses, each as PNG and SVG: curves with bands, and matrices with intervals."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from advvid.core import files

# Okabe and Ito's palette, made for every kind of colour vision; markers and dashes tell lines apart without colour.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1, 1, 1)))
QUIET = "#666666"
DPI = 150
# From this ratio of the largest to the smallest value on, even spacing would crowd the small ones.
LOGARITHMIC = 50


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG to ``path`` and as SVG beside it, the same bytes each time; return ``path``."""
    picture, drawing = io.BytesIO(), io.StringIO()
    FigureCanvasAgg(figure).print_png(picture)
    with mpl.rc_context({"svg.hashsalt": "advvid"}):
        FigureCanvasSVG(figure).print_svg(drawing, metadata={"Date": None})
    files.write_bytes(path, picture.getvalue())
    files.write_text(path.with_suffix(".svg"), drawing.getvalue())
    return path


def plot(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of a size in inches, and its axes."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    return figure, figure.add_subplot()


def banded(
    axes: Axes, x: Sequence[float] | np.ndarray, found: np.ndarray, index: int, label: str, **style: Any
) -> None:
    """Draw a line and its band in the colour and marker of its number among the lines.

    Args:
        axes: to draw on.
        x: where the points are.
        found: ``[3, points]``: at each, the value and the ends of its interval.
        index: number of the line.
        label: its name.
        style: of the line, where it is not dashed by its number.
    """
    value, low, high = found
    usual: dict[str, Any] = {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 5,
        "linestyle": DASHES[index % len(DASHES)],
    }
    axes.fill_between(x, low, high, color=usual["color"], alpha=0.15, linewidth=0)
    axes.plot(x, value, label=label, **(usual | style))


def finish(axes: Axes) -> None:
    """Lay a light grid below a plot, open its frame, and name its lines."""
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def curves(result: Mapping[str, Any], path: Path) -> Path:
    """Draw accuracy against a setting, a line and its 95% band per model.

    Args:
        result: of ``advvid.analyses.strength.Strength``.
        path: the PNG file.
    """
    figure, axes = plot(6.4, 4.0)
    x = np.array(result["values"])
    for index, model in enumerate(result["models"]):
        found = 100 * np.array([[point["acc"], *point["ci95"]] for point in model["points"]]).T
        banded(axes, x, found, index, f"{model['label']} ({100 * model['clean']['acc']:.0f} without attack)")
    axes.axhline(100 * result["chance"], color=QUIET, linewidth=0.8, linestyle=":")
    axes.annotate(
        "chance",
        (1, 100 * result["chance"]),
        xycoords=("axes fraction", "data"),
        xytext=(-3, 2),
        textcoords="offset points",
        ha="right",
        size=8,
        color=QUIET,
    )
    _value_axis(axes, result)
    axes.set_ylim(-2, 102)
    axes.set_ylabel("percent right")
    axes.set_title(f"{result['attack']}, n = {result['n']}, 95% bands", size=10)
    finish(axes)
    return save(figure, path)


def _value_axis(axes: Axes, result: Mapping[str, Any]) -> None:
    """Label the values as they were written; whole grey levels without their 255."""
    values, written = result["values"], list(result["written"])
    grey = any(text.endswith("/255") for text in written) and all(
        text == "0" or text.endswith("/255") for text in written
    )
    words = [text.removesuffix("/255") for text in written] if grey else written
    if values[0] > 0 and values[-1] / values[0] >= LOGARITHMIC:
        axes.set_xscale("log")
    axes.set_xticks(values, words, size=9 if len(words) <= 9 else 7)
    axes.minorticks_off()
    axes.set_xlabel(f"{result['field']} (grey levels, of 255)" if grey else result["field"])


@dataclass(frozen=True)
class Axis:
    """One side of a matrix: its name, the names of its places, and how many of them come before a dividing line."""

    name: str
    places: Sequence[str]
    line_after: int | None = None


def matrix(
    path: Path,
    accuracy: np.ndarray,
    intervals: np.ndarray,
    rows: Axis,
    columns: Axis,
    title: str,
    framed: Sequence[tuple[int, int]] = (),
) -> Path:
    """Draw accuracies as a heat map with the interval in every cell.

    Args:
        path: the PNG file.
        accuracy: ``[rows, columns]`` fractions in [0, 1].
        intervals: ``[rows, columns, 2]``.
        rows: from above.
        columns: from the left.
        title: above the figure.
        framed: cells (row, column) to put a frame around.
    """
    longest = max(len(name) for name in rows.places)
    size = (1.9 + 0.07 * longest + 1.05 * max(len(columns.places), 2), 1.5 + 0.55 * len(rows.places))
    figure, axes = plot(*size)
    image = axes.imshow(100 * accuracy, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    names = columns.places
    tilted = max(len(name) for name in names) > 12
    axes.set_xticks(range(len(names)), names, rotation=25 if tilted else 0, ha="right" if tilted else "center")
    axes.set_yticks(range(len(rows.places)), rows.places)
    axes.set_xlabel(columns.name)
    axes.set_ylabel(rows.name)
    axes.set_title(title, size=10)
    for (i, j), value in np.ndenumerate(accuracy):
        low, high = 100 * intervals[i, j]
        colour = "white" if value < 0.6 else "black"
        axes.text(j, i - 0.12, f"{100 * value:.1f}", ha="center", va="center", color=colour, size=10)
        axes.text(j, i + 0.24, f"{low:.0f} to {high:.0f}", ha="center", va="center", color=colour, size=7)
    for row, column in framed:
        axes.add_patch(Rectangle((column - 0.47, row - 0.45), 0.94, 0.9, fill=False, edgecolor="#d55e00", linewidth=2))
    if rows.line_after is not None:
        axes.axhline(rows.line_after - 0.5, color="white", linewidth=3)
    figure.colorbar(image, ax=axes, label="percent right")
    return save(figure, path)

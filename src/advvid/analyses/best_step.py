"""The best step size of each budget, and the line through them (Kinfu & Vidal, figure 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import MinLen
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from advvid.analyses.base import Analysis, Context
from advvid.analyses.figures import COLOURS, QUIET, plot, save
from advvid.analyses.step_losses import check_grid, step_losses
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, Positive, PositiveNumber
from advvid.core.numbers import parse_number

DRAWS = 2000
PAPER = 0.2  # the paper's line: slope and offset


@dataclass(frozen=True, kw_only=True)
class BestStep(Analysis):
    """The step size with the largest mean loss for each budget, with a straight line through them.

    Intervals come from a bootstrap over clips: in each draw every budget's best step and the line are found anew. The
    paper's line is 0.2 (eps + 1) in grey levels; whether it depends on the number of steps is left to ``steps``.

    Args:
        budgets: in [0, 1].
        sizes: step sizes tried, in units of the budget.
        steps: of each search.

    Example:
        >>> BestStep(budgets=["4/255", "8/255"]).steps
        10
    """

    budgets: Annotated[Sequence[PositiveNumber], MinLen(2)] = ("1/255", "2/255", "4/255", "8/255", "12/255")
    sizes: Annotated[Sequence[Positive], MinLen(1)] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 1.0)
    steps: Count = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        values = sorted({parse_number(value, "analysis.budgets") for value in self.budgets})
        if len(values) < 2:
            raise AdvvidError("analysis.budgets needs two budgets for a line: give a list such as [4/255,8/255]")
        object.__setattr__(self, "budgets", tuple(values))
        object.__setattr__(self, "sizes", tuple(sorted(float(size) for size in self.sizes)))
        check_grid(values, "budgets")
        check_grid(self.sizes, "sizes")
        check_grid([self.steps], "steps")

    def run(self, context: Context) -> dict[str, Any]:
        """Search at every budget with every step size."""
        budgets = [float(eps) for eps in self.budgets]
        losses = [
            step_losses(context, eps, [size * eps for size in self.sizes], [self.steps])[..., 0] for eps in budgets
        ]
        return {
            "n": len(losses[0]),
            "steps": self.steps,
            "sizes": list(self.sizes),
            **fit(np.stack(losses), budgets, self.sizes),
        }

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw the best steps with intervals, the line found and the paper's."""
        figure, axes = plot(5.2, 3.8)
        x = np.array([255 * row["eps"] for row in result["rows"]])
        y = np.array([row["step"] for row in result["rows"]])
        ends = np.array([row["ci95"] for row in result["rows"]])
        axes.errorbar(
            x,
            y,
            yerr=[np.clip(y - ends[:, 0], 0, None), np.clip(ends[:, 1] - y, 0, None)],
            fmt="o",
            color=COLOURS[0],
            capsize=3,
            label="best of the grid",
        )
        line = result["line"]
        axes.plot(
            x,
            line["slope"] * x + line["offset"],
            color=COLOURS[1],
            label=f"{line['slope']:.2f} eps {line['offset']:+.2f}",
        )
        axes.plot(x, PAPER * (x + 1), color=QUIET, linestyle="--", label="the paper's: 0.2 (eps + 1)")
        axes.set_xlabel("budget (grey levels, of 255)")
        axes.set_ylabel("best step (grey levels)")
        axes.set_title(f"{result['steps']} steps, n = {result['n']}", size=10)
        axes.legend(frameon=False, fontsize=8)
        return [save(figure, folder / f"{name}.png")]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return a row per budget and the line."""
        layout = Table(
            "budget", "best step", "95% interval", title=f"grey levels; {result['steps']} steps, n = {result['n']}"
        )
        for row in result["rows"]:
            layout.add_row(
                f"{255 * row['eps']:g}", f"{row['step']:.2f}", f"{row['ci95'][0]:.2f} to {row['ci95'][1]:.2f}"
            )
        line = result["line"]
        said = ", ".join(
            f"{key} {line[key]:.3f} [{line[f'{key}_ci95'][0]:.3f}, {line[f'{key}_ci95'][1]:.3f}]"
            for key in ("slope", "offset")
        )
        return Group(layout, Text(f"line: {said}; the paper: 0.2 and 0.2"))


def fit(losses: NDArray[np.float64], budgets: Sequence[float], sizes: Sequence[float]) -> dict[str, Any]:
    """Return each budget's best step in grey levels and the least-squares line, with bootstrap intervals.

    A grid tells the best step no better than to lie between the neighbours of its best point, so that each draw of the
    bootstrap takes a value between them.

    Shape:
        losses: ``[budgets, n, sizes]``.
    """
    grey = 255 * np.array(budgets)
    n = losses.shape[1]
    random = np.random.default_rng(0)
    counts = random.multinomial(n, np.full(n, 1 / n), size=DRAWS)
    winners = (np.einsum("dn,bns->dbs", counts, losses) / n).argmax(axis=2)  # [draws, budgets]
    low, high = (np.array(sizes)[np.clip(winners + side, 0, len(sizes) - 1)] for side in (-1, 1))
    steps = random.uniform(low, high) * grey
    best = np.array(sizes)[losses.mean(axis=1).argmax(axis=1)] * grey
    slopes, offsets = np.polyfit(grey, steps.T, 1)
    slope, offset = np.polyfit(grey, best, 1)
    ends = [2.5, 97.5]
    rows = [
        {"eps": eps, "step": float(step), "ci95": np.percentile(drawn, ends).tolist()}
        for eps, step, drawn in zip(budgets, best, steps.T, strict=True)
    ]
    line = {
        "slope": float(slope),
        "slope_ci95": np.percentile(slopes, ends).tolist(),
        "offset": float(offset),
        "offset_ci95": np.percentile(offsets, ends).tolist(),
    }
    return {"rows": rows, "line": line}

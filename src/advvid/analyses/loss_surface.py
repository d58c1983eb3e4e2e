"""The loss of PGD over step size and number of steps (Kinfu & Vidal, figure 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import MinLen
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.table import Table

from advvid.analyses.base import Analysis, Context
from advvid.analyses.figures import DPI, save
from advvid.analyses.step_losses import check_grid, step_losses
from advvid.core.kinds import Count, Positive, PositiveNumber
from advvid.metrics.statistics import bootstrap_difference

# The share of the largest loss from which a step size counts as near the best.
NEAR = 0.95
DRAWS = 2000


@dataclass(frozen=True, kw_only=True)
class LossSurface(Analysis):
    """The mean loss after PGD for every step size and number of steps, as a heat map and a surface.

    Says which step sizes are near the best (95% of the largest loss), and whether the loss is flat from twice the
    budget on, where every iterate of a signed step is a corner of the ball (Kinfu & Vidal, sec. 3.1).

    Args:
        eps: the budget.
        sizes: step sizes in units of the budget.
        steps: numbers of steps.

    Example:
        >>> LossSurface(eps="4/255").sizes[0]
        0.02
    """

    eps: PositiveNumber = "8/255"
    sizes: Annotated[Sequence[Positive], MinLen(1)] = (0.02, 0.05, 0.1, 0.225, 0.5, 1.0, 2.0, 3.0, 4.0)
    steps: Annotated[Sequence[Count], MinLen(1)] = (1, 2, 5, 10, 20)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "sizes", tuple(sorted(float(size) for size in self.sizes)))
        object.__setattr__(self, "steps", tuple(sorted({int(n) for n in self.steps})))
        check_grid(self.sizes, "sizes")
        check_grid(self.steps, "steps")
        check_grid([float(self.eps)], "eps")

    def run(self, context: Context) -> dict[str, Any]:
        """Search with every step size."""
        eps = float(self.eps)
        losses = step_losses(context, eps, [size * eps for size in self.sizes], self.steps)
        mean = losses.mean(axis=0)
        last = mean[:, -1]
        near = [size for size, value in zip(self.sizes, last, strict=True) if value >= NEAR * last.max()]
        wide = [i for i, size in enumerate(self.sizes) if size >= 2]
        flat = None
        if len(wide) > 1:
            difference, interval = bootstrap_difference(
                losses[:, wide[-1], -1], losses[:, wide[0], -1], np.random.default_rng(0)
            )
            flat = {"difference": difference, "ci95": list(interval)}
        return {
            "n": len(losses),
            "eps": eps,
            "sizes": list(self.sizes),
            "steps": list(self.steps),
            "loss": mean.tolist(),
            "best": self.sizes[int(last.argmax())],
            "near_best": near,
            "largest": float(last.max()),
            "flat_from_two": flat,
            **spread(losses[:, :, -1], self.sizes),
        }

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw the heat map and the surface."""
        loss = np.array(result["loss"])
        flat = Figure(
            figsize=(1.8 + 0.8 * len(result["steps"]), 1.4 + 0.4 * len(result["sizes"])), dpi=DPI, layout="constrained"
        )
        axes = flat.add_subplot()
        image = axes.imshow(loss, cmap="viridis", aspect="auto", origin="lower")
        axes.set_xticks(range(len(result["steps"])), [str(n) for n in result["steps"]])
        axes.set_yticks(range(len(result["sizes"])), [f"{size:g}" for size in result["sizes"]])
        axes.set_xlabel("steps")
        axes.set_ylabel("step size / budget")
        axes.set_title(f"mean loss, eps {255 * result['eps']:g}/255, n = {result['n']}", size=10)
        for (i, j), value in np.ndenumerate(loss):
            axes.text(
                j,
                i,
                f"{value:.2f}",
                ha="center",
                va="center",
                size=7,
                color="white" if value < 0.6 * loss.max() else "black",
            )
        flat.colorbar(image, ax=axes)
        solid = Figure(figsize=(5.6, 4.4), dpi=DPI)
        space: Any = solid.add_subplot(projection="3d")
        x, y = np.meshgrid(range(len(result["steps"])), range(len(result["sizes"])))
        space.plot_surface(x, y, loss, cmap="viridis")
        space.set_xticks(range(len(result["steps"])), [str(n) for n in result["steps"]], size=7)
        space.set_yticks(range(len(result["sizes"])), [f"{size:g}" for size in result["sizes"]], size=7)
        space.set_xlabel("steps")
        space.set_ylabel("step size / budget")
        space.set_zlabel("mean loss")
        return [save(flat, folder / f"{name}.png"), save(solid, folder / f"{name}_3d.png")]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return the losses, a row per step size."""
        near = ", ".join(f"{size:g}" for size in result["near_best"])
        layout = Table(
            title=f"mean loss, eps {255 * result['eps']:g}/255, n = {result['n']}; within 5% of the best: {near}"
        )
        for heading in ("step size / budget", *(f"{n} steps" for n in result["steps"])):
            layout.add_column(heading)
        for size, row in zip(result["sizes"], result["loss"], strict=True):
            layout.add_row(f"{size:g}", *(f"{value:.3f}" for value in row))
        return layout


def spread(losses: NDArray[np.float64], sizes: Sequence[float]) -> dict[str, Any]:
    """Return the largest loss, each step size's share of it, and how many sizes are near the best, with intervals over clips.

    Shape:
        losses: ``[n, sizes]``, after all steps.
    """
    best = int(losses.mean(axis=0).argmax())
    counts = np.random.default_rng(0).multinomial(len(losses), np.full(len(losses), 1 / len(losses)), size=DRAWS)
    drawn = counts @ losses / len(losses)
    shares = drawn / drawn[:, best, None]
    near = (drawn >= NEAR * drawn.max(axis=1, keepdims=True)).sum(axis=1)
    mean = losses.mean(axis=0)
    return {
        "largest_loss": {"mean": float(mean[best]), "ci95": _ends(drawn[:, best])},
        "share_of_best": [
            {"size": size, "mean": float(mean[i] / mean[best]), "ci95": _ends(shares[:, i])}
            for i, size in enumerate(sizes)
        ],
        "sizes_near_best": {"mean": int((mean >= NEAR * mean[best]).sum()), "ci95": _ends(near)},
    }


def _ends(values: NDArray[Any]) -> list[float]:
    return [float(end) for end in np.percentile(values, [2.5, 97.5])]

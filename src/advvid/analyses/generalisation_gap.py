"""How training and validation accuracy part over a run (Kinfu & Vidal, figure 4)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from scipy.stats import linregress, t

from advvid.analyses.base import Analysis, Context
from advvid.analyses.figures import COLOURS, plot, save
from advvid.analyses.scored import Checkpoints, named_paths, selected
from advvid.core.errors import AdvvidError

# What a run's metrics.jsonl calls them: clips as they are trained on, and validation clips under the same attack. Where a
# budget moves, the latter has a name of its own; else it is the attack that validation watches.
PAIRS = {"attacked": ("train_objective_acc", "val_trained_acc", "val_robust_acc"), "clean": ("train_acc", "val_acc")}


@dataclass(frozen=True, kw_only=True)
class GeneralisationGap(Analysis):
    """Accuracy on training clips less that on validation clips, epoch by epoch, from what the runs wrote.

    For a curriculum the budget rises with the epochs, so that the gap over epochs is the gap over the budget.

    Args:
        checkpoints: further runs, a line each.
        labels: names of the runs, the run's own first; folders where empty.

    Example:
        >>> GeneralisationGap().labels
        ()
    """

    checkpoints: Checkpoints = ()
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "checkpoints", named_paths(self.checkpoints))
        if self.labels and len(self.labels) != len(self.checkpoints) + 1:
            raise AdvvidError(
                f"analysis.labels has {len(self.labels)} names for {len(self.checkpoints) + 1} runs: give one each"
            )

    def run(self, context: Context) -> dict[str, Any]:
        """Read the runs; one that kept no record of its epochs has no line, and says so."""
        folders = [path.parent.parent for path in (context.source, *map(selected, self.checkpoints))]
        names = [str(label) for label in self.labels] or [folder.name for folder in folders]
        return {
            "n": len(context.split),
            "runs": [line(name, folder) for name, folder in zip(names, folders, strict=True)],
        }

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw the gap of each run over its epochs."""
        figure, axes = plot(6.0, 3.8)
        for index, run in enumerate(result["runs"]):
            for kind, style in (("attacked", "-"), ("clean", ":")):
                points = [(e["epoch"], 100 * e[kind]) for e in run["epochs"] if e[kind] is not None]
                if points:
                    axes.plot(
                        *zip(*points, strict=True),
                        style,
                        color=COLOURS[index % len(COLOURS)],
                        label=f"{run['label']}, {kind}",
                    )
        axes.axhline(0, color="#999999", linewidth=0.8)
        axes.set_xlabel("epoch")
        axes.set_ylabel("training less validation accuracy, points")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)
        return [save(figure, folder / f"{name}.png")]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return the gap in the first and the last fifth of each run."""
        layout = Table(title="training less validation accuracy, points", title_justify="left")
        for heading in (
            "run",
            "attacked: first fifth",
            "last fifth",
            "an epoch",
            "clean: first fifth",
            "last fifth",
            "an epoch",
        ):
            layout.add_column(heading, overflow="fold")
        for run in result["runs"]:
            cells = []
            for kind in PAIRS:
                ends, grows = [run["ends"][kind][place] for place in ("first", "last")], run["trend"][kind]
                cells += ["–" if value is None else f"{100 * value:+.1f}" for value in ends]
                low, high = grows["ci95"] if grows else (0, 0)
                cells.append(f"{100 * grows['slope']:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]" if grows else "–")
            layout.add_row(run["label"], *cells)
        notes = [f"{run['label']}: {run['problem']}" for run in result["runs"] if run["problem"]]
        return Group(layout, *map(Text, notes))


def line(label: str, folder: Path) -> dict[str, Any]:
    """Return a run's gaps by epoch, and their means over its first and last fifth."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        empty = {kind: {"first": None, "last": None} for kind in PAIRS}
        return {
            "label": label,
            "epochs": [],
            "ends": empty,
            "trend": dict.fromkeys(PAIRS),
            "problem": f"{path} is not there: give the folder of a training",
        }
    epochs = []
    for text in path.read_text(encoding="utf-8").splitlines():
        found = json.loads(text)
        gaps = {}
        for kind, (trained, *watched) in PAIRS.items():
            other = next((found[name] for name in watched if found.get(name) is not None), None)
            gaps[kind] = None if found.get(trained) is None or other is None else found[trained] - other
        epochs.append({"epoch": found["epoch"], "budget": found.get("budget"), **gaps})
    part = max(1, len(epochs) // 5)
    ends = {kind: {"first": _mean(epochs[:part], kind), "last": _mean(epochs[-part:], kind)} for kind in PAIRS}
    trends = {kind: trend(epochs, kind) for kind in PAIRS}
    return {"label": label, "epochs": epochs, "ends": ends, "trend": trends, "problem": ""}


def trend(epochs: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Any] | None:
    """Return by how much the gap grows in an epoch, with the interval of a straight line's slope; None below 3 epochs.

    The interval is over the scatter of the epochs around the line; it knows nothing of other seeds.
    """
    points = [(epoch["epoch"], epoch[kind]) for epoch in epochs if epoch[kind] is not None]
    if len(points) < 3:
        return None
    found = linregress(*zip(*points, strict=True))
    spread = float(t.ppf(0.975, len(points) - 2) * found.stderr)
    return {"slope": float(found.slope), "ci95": [float(found.slope) - spread, float(found.slope) + spread]}


def _mean(epochs: Sequence[Mapping[str, Any]], kind: str) -> float | None:
    values = [epoch[kind] for epoch in epochs if epoch[kind] is not None]
    return sum(values) / len(values) if values else None

"""What black-box attacks reach with a number of queries: accuracy for scores, distance for labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from rich.console import Group, RenderableType
from rich.table import Table

from advvid.analyses.base import Analysis, Context
from advvid.analyses.batches import by_batch, right_clips
from advvid.analyses.figures import banded, curves, finish, plot, save
from advvid.attacks.base import Attack
from advvid.attacks.oracle import marks
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.evaluation.columns import Column, craft
from advvid.evaluation.table import percent
from advvid.evaluation.tally import proportion


@dataclass(frozen=True, kw_only=True)
class Queries(Analysis):
    """Accuracy against queries for attacks that see scores, and l2 distance against queries for those that see labels.

    Every attack is run once with all its queries. One that sees scores stops at the query that fools a clip, so that the
    curve at q counts the clips that took more. It is the curve of that one search: a search whose schedule depends on
    its limit (Square) would go about q queries differently had it no more. One that sees labels goes on and notes how far
    the nearest clip so far is; its curve is the median over the clips that are right without attack.

    Args:
        attacks: black-box attacks by name.
        queries: times that each may ask about a clip; null for each attack's own limit.

    Example:
        >>> Queries(attacks={"square": Square()}, queries=1000)        # doctest: +SKIP
    """

    attacks: Mapping[str, Attack] = field(default_factory=dict)
    queries: Annotated[int, Ge(4)] | None = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.attacks:
            raise AdvvidError("analysis.attacks is empty: add one, as in +attack@analysis.attacks.square=square")
        for name, attack in self.attacks.items():
            if attack.access != "black_box" or not hasattr(attack, "queries"):
                raise AdvvidError(
                    f"analysis.attacks.{name} asks no counted queries: choose a black-box attack such as square"
                )

    def run(self, context: Context) -> dict[str, Any]:
        """Run every attack on the run's model.

        Raises:
            AdvvidError: if the task has no right answers, or a clip leaves its budget.
        """
        found = [self._line(context, name, attack) for name, attack in self.attacks.items()]
        return {
            "n": len(context.split),
            "chance": 1 / len(context.classes),
            "scores": [line for line in found if "points" in line],
            "labels": [line for line in found if "median" in line],
        }

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw accuracy with 95% bands, and median distance with quartiles, over queries."""
        paths = []
        if result["scores"]:
            longest = max(result["scores"], key=lambda line: len(line["queries"]))
            drawn = {
                **result,
                "models": result["scores"],
                "field": "queries",
                "attack": "black box by scores",
                "values": longest["queries"],
                "written": [f"{number:,}" for number in longest["queries"]],
            }
            paths.append(curves(drawn, folder / f"{name}.png"))
        if result["labels"]:
            paths.append(_distances(result, folder / f"{name}_labels.png"))
        return paths

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return a table of accuracies and one of distances, a row per number of queries."""
        right = _layout(f"Percent right after queries, n = {result['n']}, [95% interval]", result["scores"])
        for i, number in enumerate(_numbers(result["scores"])):
            right.add_row(f"{number:,}", *(percent(line["points"][i]) for line in result["scores"]))
        far = _layout(
            "Median l2 change after queries [quartiles], clips that are right without attack", result["labels"]
        )
        for i, number in enumerate(_numbers(result["labels"])):
            cells = [[line[part][i] for part in ("median", "low", "high")] for line in result["labels"]]
            far.add_row(f"{number:,}", *(f"{_word(m)} [{_word(a)}, {_word(b)}]" for m, a, b in cells))
        return Group(*(layout for layout in (right, far) if layout.row_count))

    def _line(self, context: Context, name: str, attack: Attack) -> dict[str, Any]:
        """Run one attack; what was run before in this run folder is read from there."""
        column = Column(name, attack.adjusted(early_exit=True, queries=self.queries or getattr(attack, "queries", 0)))

        def ask(batch: Batch) -> dict[str, Any]:
            right = right_clips(context, context.model, batch.inputs, batch.target)
            result, _ = craft(column, context.model, batch.inputs, batch.target, batch.ids, context.seed, context.task)
            left = right_clips(context, context.model, result.x_adv, batch.target)
            curve = result.aux.get("curve")
            return {
                "right": right.tolist(),
                "left": (right & left).tolist(),
                "queries": result.aux["queries"].tolist(),
                "curve": None if curve is None else curve.nan_to_num(posinf=-1).tolist(),
            }

        made = (column.rests_on, context.source.name)
        parts = by_batch(context, context.split, name, made, name, ask)
        right, left, queries = (np.concatenate([part[key] for part in parts]) for key in ("right", "left", "queries"))
        numbers = marks(int(getattr(column.attack, "queries", 1)))
        line = {
            "label": name,
            "budget": column.attack.stated_budget,
            "settings": column.settings,
            "queries": numbers,
            "clean": proportion(right),
        }
        if parts[0]["curve"] is None:
            spent = np.where(left, np.inf, queries)
            return line | {"points": [proportion(right & (spent > number)) for number in numbers]}
        curve = np.concatenate([part["curve"] for part in parts])[right]
        curve = np.where(curve < 0, np.inf, curve)
        parts_ = (("low", 0.25), ("median", 0.5), ("high", 0.75))
        return line | {key: [_quantile(column_, share) for column_ in curve.T] for key, share in parts_}


def _quantile(values: np.ndarray, share: float) -> float | None:
    """Return an order statistic; None where it is infinite, as no change was found, or there is no value."""
    if not len(values):
        return None
    value = float(np.sort(values)[round(share * (len(values) - 1))])
    return value if np.isfinite(value) else None


def _numbers(lines: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the numbers of queries that all lines have."""
    return list(min((line["queries"] for line in lines), key=len, default=[]))


def _layout(title: str, lines: Sequence[Mapping[str, Any]]) -> Table:
    layout = Table(title=title, title_justify="left", header_style="bold")
    for heading in ("queries", *(line["label"] for line in lines)):
        layout.add_column(heading, overflow="fold", justify="right")
    return layout


def _word(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def _distances(result: Mapping[str, Any], path: Path) -> Path:
    """Draw the median distance of each attack and its quartiles over queries, both axes logarithmic."""
    figure, axes = plot(6.4, 4.0)
    drawn = False
    for index, line in enumerate(result["labels"]):
        found = np.array([line[part] for part in ("median", "low", "high")], dtype=float)
        banded(axes, line["queries"], found, index, line["label"])
        drawn |= bool((found > 0).any())
    if drawn:  # not where no clip is right, or none was fooled: there is nothing to scale
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlabel("queries")
    axes.set_ylabel("l2 change over the clip")
    axes.set_title(f"black box by labels, n = {result['n']}, median and quartiles", size=10)
    finish(axes)
    return save(figure, path)

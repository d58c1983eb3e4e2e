"""The loss after each number of steps of a sparse attack, by choice of its key frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import MinLen
from rich.console import RenderableType
from rich.table import Table

from advvid.analyses.base import Analysis, Context
from advvid.analyses.batches import by_batch
from advvid.analyses.figures import banded, plot, save
from advvid.analyses.means import mean_of
from advvid.attacks.base import in_space
from advvid.attacks.deep_sava import DeepSAVA
from advvid.attacks.sparse_attack import SparseAttack
from advvid.core import digests
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count
from advvid.evaluation.columns import Column, craft

Choice = Literal["first", "random", "bayesian", "brute_force"]


@dataclass(frozen=True, kw_only=True)
class LossByStep(Analysis):
    """The task's mean loss over the steps of a sparse attack, a curve for each choice of frames (Mu et al., figure C.9).

    For a predictor of frames the loss is the mean squared error. No search stops at the first iterate that fools; with
    ``attack.budget`` and ``attack.at_budget=project`` every point of the curve lies within the budget.

    Args:
        attack: a sparse attack; its ``key_frame``, ``steps`` and ``early_exit`` are this analysis' matter.
        key_frames: choices of frames, a curve each.
        steps: numbers of steps at which the loss is noted.

    Example:
        >>> LossByStep(steps=[5, 1]).steps
        (1, 5)
    """

    judges: ClassVar[bool] = False

    attack: SparseAttack = field(default_factory=DeepSAVA)
    key_frames: Annotated[Sequence[Choice], MinLen(1)] = ("first", "bayesian")
    steps: Annotated[Sequence[Count], MinLen(1)] = (1, 2, 5, 10, 20)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", tuple(sorted(set(self.steps))))
        if self.attack.given is not None:
            raise AdvvidError(
                "analysis=loss_by_step compares choices of frames: set analysis.attack to one without given"
            )

    def run(self, context: Context) -> dict[str, Any]:
        """Attack every clip with every choice of frames and number of steps.

        Raises:
            AdvvidError: if an attack leaves its threat.
        """
        attack = in_space(self.attack, context.attack.space)
        assert isinstance(attack, SparseAttack)
        columns = {
            (rule, steps): Column(
                f"{rule}_{steps}", dataclasses.replace(attack, key_frame=rule, steps=steps, early_exit=False)
            )
            for rule in self.key_frames
            for steps in self.steps
        }
        made = (digests.of_module(context.model), [column.rests_on for column in columns.values()])
        losses: dict[str, list[float]] = {}
        for batch in by_batch(
            context, context.split, context.name, made, "steps", lambda batch: _batch(context, batch, columns.values())
        ):
            for name, values in batch.items():
                losses.setdefault(name, []).extend(values)
        curves = [
            {
                "key_frame": rule,
                "points": [{"steps": 0, **mean_of(losses["clean"])}]
                + [{"steps": n, **mean_of(losses[columns[rule, n].name])} for n in self.steps],
            }
            for rule in self.key_frames
        ]
        return {"n": len(losses["clean"]), "budget": attack.threat.budget, "curves": curves}

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw a curve with its band for each choice of frames."""
        figure, axes = plot(6.0, 3.8)
        for i, curve in enumerate(result["curves"]):
            steps = [point["steps"] for point in curve["points"]]
            found = np.array([[point["mean"], *point["ci95"]] for point in curve["points"]]).T
            banded(axes, steps, found, i, curve["key_frame"], markersize=4, linestyle="-")
        axes.set_xlabel("steps")
        axes.set_ylabel("mean loss of the attacked clips")
        axes.set_title(f"{result['budget']}, n = {result['n']}", size=9)
        axes.legend(frameon=False, fontsize=8, title="frames")
        return [save(figure, folder / f"{name}.png")]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return a row per number of steps and a column per choice of frames."""
        layout = Table(title=f"mean loss by steps, n = {result['n']}, [95% interval]", title_justify="left")
        for heading in ("steps", *(curve["key_frame"] for curve in result["curves"])):
            layout.add_column(heading, overflow="fold")
        for points in zip(*(curve["points"] for curve in result["curves"]), strict=True):
            said = ("{:.4g} [{:.4g}, {:.4g}]".format(point["mean"], *point["ci95"]) for point in points)
            layout.add_row(str(points[0]["steps"]), *said)
        return layout


def _batch(context: Context, batch: Batch, columns: Iterable[Column]) -> dict[str, list[float]]:
    """Return the losses of a batch's clips without attack and under each column's."""

    def losses(clips: torch.Tensor) -> list[float]:
        with torch.no_grad():
            loss: list[float] = context.task.loss(context.model(clips), batch.target).double().tolist()
        return loss

    found = {"clean": losses(batch.inputs)}
    for column in columns:
        result, _ = craft(column, context.model, batch.inputs, batch.target, batch.ids, context.seed, context.task)
        found[column.name] = losses(result.x_adv)
    return found

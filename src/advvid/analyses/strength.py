"""Accuracy against the strength of an attack."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import MinLen
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from advvid.analyses.base import Analysis, Context
from advvid.analyses.batches import no_answers
from advvid.analyses.figures import curves
from advvid.analyses.notes import raised_checks
from advvid.analyses.scored import Checkpoints, Scored, named_paths, scored_models
from advvid.analyses.settings import with_setting, written_values
from advvid.core.kinds import Number
from advvid.evaluation.checks import model_checks, table_checks
from advvid.evaluation.columns import Column
from advvid.evaluation.fitting import fit_columns
from advvid.evaluation.results import near_ties
from advvid.evaluation.table import percent
from advvid.evaluation.tally import has_verdicts, summarise, verdicts


@dataclass(frozen=True, kw_only=True)
class Strength(Analysis):
    """Accuracy of one or several models as one setting of the run's attack grows, with Wilson intervals.

    A curve says more than a column: that it falls to zero shows that the attack works (Carlini et al. 2019, sec. 4;
    Athalye et al. 2018), where it starts to fall what the model withstands. Every adversarial clip is held against the
    threat of its own value. All models and values see the same clips; at one value all models see the same random
    numbers.

    Args:
        field: the setting that varies: ``eps``, ``ratio``, ``steps``, ``beta_0``, ...; ``attack.eps`` for the inner
            attack of a transfer.
        values: numbers or fractions. A ``step_size`` of ``optimal`` follows ``eps``; a number stays.
        checkpoints: further runs or ``.pt`` files, each a line of its own.
        labels: names of the models, the run's own first; made from defenses or folders where empty.

    Example:
        >>> Strength(field="ratio", values=["1/20", "1/10"]).field
        'ratio'
    """

    field: str = "eps"
    values: Annotated[Sequence[Number], MinLen(1)] = (
        "0",
        "1/255",
        "2/255",
        "4/255",
        "8/255",
        "12/255",
        "16/255",
        "32/255",
    )
    checkpoints: Checkpoints = ()
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        written_values(self.values)
        object.__setattr__(self, "checkpoints", named_paths(self.checkpoints))

    def run(self, context: Context) -> dict[str, Any]:
        """Score every model at every value.

        Raises:
            AdvvidError: for a setting that the attack does not have, models of other classes, or a clip outside its
                budget.
        """
        written = written_values(self.values)
        columns = [
            Column(f"{self.field}={text}", with_setting(context.attack, self.field, number))
            for text, number in written.items()
        ]
        models = scored_models(context, self.checkpoints, self.labels)
        return {
            "field": self.field,
            "values": list(written.values()),
            "written": list(written),
            "n": len(context.split),
            "attack": context.attack_name,
            "attack_class": type(context.attack).__name__,
            "chance": 1 / len(context.classes),
            "models": [_line(context, model, columns) for model in models],
        }

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw one line per model with its 95% band."""
        return [curves(result, folder / f"{name}.png")]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return a row per value and a column per model."""
        title = f"{result['attack']}: percent right by {result['field']}, n = {result['n']}, [95% interval]"
        layout = Table(title=title, title_justify="left", header_style="bold")
        for heading in (result["field"], "budget", *(model["label"] for model in result["models"])):
            layout.add_column(heading, overflow="fold")
        layout.add_row("no attack", "", *(percent(model["clean"]) for model in result["models"]), end_section=True)
        for index, text in enumerate(result["written"]):
            points = [model["points"][index] for model in result["models"]]
            layout.add_row(text, points[0]["budget"], *(percent(point) for point in points))
        return Group(layout, *(Text(note) for note in raised_checks(result)))


def _line(context: Context, model: Scored, columns: Sequence[Column]) -> dict[str, Any]:
    """Score one model; what was scored before in this run folder is read from there."""
    folder = context.cells / model.key
    columns = fit_columns(
        columns,
        model.model,
        context.learning_batches,
        lambda: context.learning_clips,
        context.task,
        context.seed,
        folder,
    )
    evaluator = context.evaluator(model.model, columns, folder)
    first = next(context.batches())
    checks = model_checks(model.model, first.inputs, first.target, context.task)
    samples = evaluator.run(context.batches, context.clips, context.batch_size)
    names = [column.name for column in columns]
    if not has_verdicts(samples):
        raise no_answers(context)
    tally, targets = summarise(samples, names), torch.as_tensor(context.split.targets)
    losses = {name: context.task.loss(evaluator.outputs(name), targets).numpy() for name in names}
    checks += table_checks(columns, verdicts(samples, names), len(context.classes), losses)
    points = []
    for column in columns:
        rows = [sample["attacks"][column.name] for sample in samples]
        points.append(
            {
                "name": column.name,
                "budget": column.attack.stated_budget,
                **tally["attacks"][column.name],
                "max_distance": max(row["distance"] for row in rows),
                "steps": sum(row["steps"] for row in rows) / len(rows),
                "gradient_calls": sum(row["gradient_calls"] for row in rows),
                "seconds": round(sum(row["seconds"] for row in rows), 2),
                "near_ties": near_ties(context.task, evaluator.outputs(column.name), targets),
                "settings": column.settings,
            }
        )
    return {
        **model.origin,
        "clean": tally["clean"],
        "points": points,
        "checks": [dataclasses.asdict(check) for check in checks],
    }

"""Which method's clips fool which other model: a matrix of methods, sources and targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from advvid.analyses.base import Analysis, Context
from advvid.analyses.figures import Axis, matrix
from advvid.analyses.scored import Checkpoints, Scored, named_paths, scored_models
from advvid.analyses.transfers import Row, clean_row, crafted_row
from advvid.attacks.base import Attack
from advvid.core.errors import AdvvidError
from advvid.evaluation.table import percent
from advvid.evaluation.tally import average, proportion


@dataclass(frozen=True, kw_only=True)
class TransferMethods(Analysis):
    """Success of several transfer attacks from each model on each other one.

    Success is counted on the clips that every model has right without attack, so that the rates of all methods, sources
    and targets can be compared. Beside each row stands the mean over the targets other than its source.

    Args:
        methods: attacks by name, each run on the source as its white box.
        checkpoints: further runs or ``.pt`` files beside the run's own: all are sources and targets.
        labels: names of the models, the run's own first; made from defenses or folders where empty.
        full_search: let the search go on after the source is fooled; see ``TransferMatrix``.

    Example:
        >>> TransferMethods(methods={"pgd": PGD(), "mi_fgsm": MIFGSM()})        # doctest: +SKIP
    """

    methods: Mapping[str, Attack] = field(default_factory=dict)
    checkpoints: Checkpoints = ()
    labels: Sequence[str] = ()
    full_search: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.methods:
            raise AdvvidError("analysis.methods is empty: add one, as in +attack@analysis.methods.pgd=pgd")
        object.__setattr__(self, "checkpoints", named_paths(self.checkpoints))

    def run(self, context: Context) -> dict[str, Any]:
        """Make every method's clips on every model and score them on every model.

        Raises:
            AdvvidError: for models of other classes, a clip outside its budget, or no clip that all models have right.
        """
        models = scored_models(context, self.checkpoints, self.labels)
        clean = clean_row(context, models)
        common = np.logical_and.reduce([clean.right[model.key] for model in models])
        if not common.any():
            raise AdvvidError(
                "no clip is right on every model, so that no success can be counted: leave the weakest one out"
            )
        rows = []
        for name, attack in self.methods.items():
            attack = attack.adjusted(early_exit=False) if self.full_search else attack
            for source in models:
                row = crafted_row(context, attack, source, models, name)
                made = {"method": name, "source": source.label, "budget": attack.threat.budget}
                rows.append(made | _success(row, source, models, common))
        return {
            "n": len(context.split),
            "common": int(common.sum()),
            "methods": {name: {"class": type(a).__name__, **dataclasses.asdict(a)} for name, a in self.methods.items()},
            "models": [{**m.origin, "clean": proportion(clean.right[m.key])} for m in models],
            "rows": rows,
        }

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw what is left right of the clips that all models have right, the white box framed."""
        labels = [model["label"] for model in result["models"]]
        rows = result["rows"]
        left = np.array([[1 - cell["acc"] for cell in row["cells"]] for row in rows])
        intervals = np.array([[[1 - end for end in reversed(cell["ci95"])] for cell in row["cells"]] for row in rows])
        made_on = Axis("method, clips made on", [f"{row['method']}, {row['source']}" for row in rows])
        framed = [(i, labels.index(row["source"])) for i, row in enumerate(rows)]
        title = f"still right of the {result['common']} clips that all have right; framed: white box"
        path = folder / f"{name}.png"
        matrix(path, left, intervals, made_on, Axis("scored on", labels), title, framed)
        return [path]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return success with intervals, a section per method."""
        said = f"Percent fooled of the {result['common']} clips (of {result['n']}) that all models have right, [95% interval]"
        layout = Table(title=said, title_justify="left", header_style="bold")
        others = len(result["models"]) > 1
        for heading in (
            "method",
            "clips made on",
            *(m["label"] for m in result["models"]),
            *["mean of others"] * others,
        ):
            layout.add_column(heading, overflow="fold")
        before = None
        for row in result["rows"]:
            if before not in (None, row["method"]):
                layout.add_section()
            before = row["method"]
            cells = [
                Text(percent(cell), style="bold" if model["label"] == row["source"] else "")
                for cell, model in zip(row["cells"], result["models"], strict=True)
            ]
            layout.add_row(row["method"], row["source"], *cells, *([percent(row["others"])] if others else []))
        return Group(layout, "bold: white box")


def _success(row: Row, source: Scored, models: Sequence[Scored], common: np.ndarray) -> dict[str, Any]:
    """Return how many of the clips that all have right fool each model, and the mean over those other than the source."""
    fooled = {model.key: ~row.right[model.key][common] for model in models}
    others = [fooled[model.key] for model in models if model.key != source.key]
    return {
        "cells": [proportion(fooled[model.key]) for model in models],
        "others": average(np.stack(others, axis=1)) if others else None,
        **row.cost,
    }

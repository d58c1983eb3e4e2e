"""Which model's adversarial clips fool which other model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from advvid.analyses.base import Analysis, Context
from advvid.analyses.figures import Axis, matrix
from advvid.analyses.notes import raised_checks
from advvid.analyses.scored import Checkpoints, Scored, named_paths, scored_models
from advvid.analyses.transfers import Row, clean_row, crafted_row
from advvid.attacks.base import Attack
from advvid.attacks.transfer import UNTRAINED, Transfer, untrained
from advvid.evaluation.checks import table_checks
from advvid.evaluation.columns import Column, fingerprint
from advvid.evaluation.results import NEAR_TIE
from advvid.evaluation.table import percent
from advvid.evaluation.tally import proportion
from advvid.metrics.statistics import wilson

BLANK = "untrained network"


@dataclass(frozen=True, kw_only=True)
class TransferMatrix(Analysis):
    """Accuracy of each model on clips that the run's attack made on each other one (Lo & Patel; DeepSAVA, table 12).

    Row: the surrogate that clips are made on; column: the target that is scored; diagonal: white box. Clips are made
    once per surrogate, all models see the same, and a clip that a target gets wrong without attack counts as wrong.
    ``transferred`` counts the clips that are right on both without attack and fool their source, as the paper does, whose
    diagonal is 100%. A clip made elsewhere that fools where the white-box attack does not is a sign of masked gradients, and is checked.

    Args:
        checkpoints: further runs or ``.pt`` files beside the run's own.
        labels: names of the models, the run's own first; made from defenses or folders where empty.
        full_search: let the search go on after the surrogate is fooled, where the attack has ``early_exit``: clips
            that are barely wrong on it, or wrong from the start, would hardly transfer. Say false for attacks that use
            the time to make the change smaller.
        control: add a row made on a small untrained network, which any trained surrogate must beat.

    Example:
        >>> TransferMatrix(control=False).full_search
        True
    """

    checkpoints: Checkpoints = ()
    labels: Sequence[str] = ()
    full_search: bool = True
    control: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "checkpoints", named_paths(self.checkpoints))

    def run(self, context: Context) -> dict[str, Any]:
        """Make clips on every model and score them on every model.

        Raises:
            AdvvidError: for models of other classes, or a clip outside its budget.
        """
        models = scored_models(context, self.checkpoints, self.labels)
        attack = self._attack(context.attack)
        clean = clean_row(context, models)
        rows = {model.label: crafted_row(context, attack, model, models) for model in models}
        control: list[Row] = []
        if self.control:
            network = untrained(len(context.classes)).to(context.device)
            blank = Scored(BLANK, Path(UNTRAINED), network, fingerprint(network), UNTRAINED)
            control = [crafted_row(context, attack, blank, models)]
        made = [
            _summary(label, row, clean, models, source)
            for source, (label, row) in zip(models, rows.items(), strict=True)
        ]
        return {
            "n": len(context.split),
            "attack": context.attack_name,
            "budget": attack.threat.budget,
            "settings": {"class": type(attack).__name__, **dataclasses.asdict(attack)},
            "models": [
                {
                    **model.origin,
                    "clean": proportion(clean.right[model.key]),
                    "checks": _checks(context, attack, model, clean, rows, control),
                }
                for model in models
            ],
            "accuracy": [[cell["acc"] for cell in row["cells"]] for row in made],
            "rows": made,
            "control": [_summary(BLANK, row, clean, models) for row in control],
        }

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw the matrix with intervals, the white-box diagonal framed, clean and control rows below."""
        labels = [model["label"] for model in result["models"]]
        rows = [*result["rows"], *result["control"], {"label": "no attack", "cells": _clean(result)}]
        accuracy = np.array([[cell["acc"] for cell in row["cells"]] for row in rows])
        intervals = np.array([[cell["ci95"] for cell in row["cells"]] for row in rows])
        title = f"{result['attack']}, {result['budget']}, n = {result['n']}; framed: white box"
        diagonal = [(i, i) for i in range(len(labels))]
        made_on = Axis("clips made on", [row["label"] for row in rows], len(labels))
        path = folder / f"{name}.png"
        matrix(path, accuracy, intervals, made_on, Axis("scored on", labels), title, diagonal)
        return [path]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return the matrix with intervals."""
        said = f"{result['attack']}, {result['budget']}: percent right, n = {result['n']}, [95% interval]"
        layout = Table(title=said, title_justify="left", header_style="bold")
        for heading in ("clips made on", *(model["label"] for model in result["models"])):
            layout.add_column(heading, overflow="fold")
        layout.add_row("no attack", *map(percent, _clean(result)), end_section=True)
        for i, row in enumerate(result["rows"]):
            cells = [Text(percent(cell), style="bold" if i == j else "") for j, cell in enumerate(row["cells"])]
            layout.add_row(row["label"], *cells)
        for row in result["control"]:
            layout.add_section()
            layout.add_row(row["label"], *map(percent, row["cells"]))
        return Group(layout, "bold: white box", *(Text(note) for note in raised_checks(result)))

    def _attack(self, attack: Attack) -> Attack:
        return attack.adjusted(early_exit=False) if self.full_search else attack


def _clean(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [model["clean"] for model in result["models"]]


def _summary(
    label: str, row: Row, clean: Row, models: Sequence[Scored], source: Scored | None = None
) -> dict[str, Any]:
    """Return a row of the matrix.

    ``fooled`` is the share of the clips that were right without attack; ``transferred`` that of those among them that the
    source had right as well and that fool it.
    """
    cells = []
    successes = None if source is None else clean.right[source.key] & ~row.right[source.key]
    for model in models:
        before, after = clean.right[model.key], row.right[model.key]
        cell = proportion(before & after) | {"fooled": _share(before & ~after, before)}
        if successes is not None:
            cell["transferred"] = _share(before & ~after & successes, before & successes)
        cells.append(cell | {"near_ties": int((np.abs(row.margin[model.key]) < NEAR_TIE).sum())})
    return {"label": label, "cells": cells, **row.cost}


def _share(those: NDArray[np.bool_], among: NDArray[np.bool_]) -> dict[str, Any]:
    number, could = int(those.sum()), int(among.sum())
    return {"rate": number / could if could else None, "ci95": list(wilson(number, could)), "n": could}


def _checks(
    context: Context, attack: Attack, model: Scored, clean: Row, rows: Mapping[str, Row], control: Sequence[Row]
) -> list[dict[str, Any]]:
    """Return the checks of a column of the matrix: clips made elsewhere must not beat the white-box ones."""
    before = clean.right[model.key]
    columns = [Column(f"white-box {context.attack_name}", attack)]
    right = {"clean": before, columns[0].name: before & rows[model.label].right[model.key]}
    others = [(label, row) for label, row in rows.items() if label != model.label] + [(BLANK, row) for row in control]
    for label, row in others:
        columns.append(Column(f"transfer from {label}", Transfer(attack=attack)))
        right[columns[-1].name] = before & row.right[model.key]
    return [dataclasses.asdict(check) for check in table_checks(columns, right, len(context.classes))]

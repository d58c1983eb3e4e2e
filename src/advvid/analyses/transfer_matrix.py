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
from advvid.analyses.crafted import clean_row, crafted_row
from advvid.analyses.figures import matrix
from advvid.analyses.notes import raised_checks
from advvid.analyses.scored import Scored, named_paths, scored_models
from advvid.attacks.base import Attack
from advvid.attacks.transfer import UNTRAINED, Transfer, untrained
from advvid.checks import table_checks
from advvid.evaluator import Column
from advvid.results import NEAR_TIE
from advvid.statistics import wilson
from advvid.table import percent

Lines = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class TransferMatrix(Analysis):
    """Accuracy of each model on clips that the run's attack made on each other one (Lo & Patel; DeepSAVA, table 12).

    Row: the surrogate that clips are made on; column: the target that is scored; diagonal: white box. Clips are made
    once per surrogate, all models see the same, and a clip that a target gets wrong without attack counts as wrong.
    A clip made elsewhere that fools where the white-box attack does not is a sign of masked gradients, and is checked.

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

    checkpoints: Sequence[str] = ()
    labels: Sequence[str] = ()
    full_search: bool = True
    control: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "checkpoints", named_paths(self.checkpoints))

    def run(self, context: Context) -> dict[str, Any]:
        """Make clips on every model and score them on every model.

        Raises:
            AdvvidError: for models of other classes, or a clip outside its budget.
        """
        models = scored_models(context, self.checkpoints, self.labels)
        attack = self._attack(context.attack)
        clean = clean_row(context, models)
        rows = {m.label: crafted_row(context, attack, m.model, m.label, m.key, models) for m in models}
        control = []
        if self.control:
            blank = untrained(len(context.classes)).to(context.device)
            control = [crafted_row(context, attack, blank, "an untrained network", UNTRAINED, models)]
        made = [_row(label, lines, clean, models) for label, lines in rows.items()]
        return {
            "n": len(clean), "attack": context.attack_name, "budget": attack.threat.budget,
            "settings": {"class": type(attack).__name__, **dataclasses.asdict(attack)},
            "models": [
                {
                    "label": model.label, "checkpoint": str(model.source), "weights": model.weights,
                    "clean": _proportion(_right(clean, model)),
                    "checks": _checks(context, attack, model, models, clean, rows, control),
                }
                for model in models
            ],
            "accuracy": [[cell["acc"] for cell in row["cells"]] for row in made], "rows": made,
            "control": [_row(UNTRAINED, lines, clean, models) for lines in control],
        }  # fmt: skip

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw the matrix with intervals, the white-box diagonal framed, clean and control rows below."""
        labels = [model["label"] for model in result["models"]]
        rows = [*result["rows"], *result["control"], {"label": "no attack", "cells": _clean(result)}]
        accuracy = np.array([[cell["acc"] for cell in row["cells"]] for row in rows])
        intervals = np.array([[cell["ci95"] for cell in row["cells"]] for row in rows])
        title = f"{result['attack']}, {result['budget']}, n = {result['n']}; framed: white box"
        diagonal = [(i, i) for i in range(len(labels))]
        names = [row["label"] for row in rows]
        return [
            matrix(
                folder / f"{name}.png",
                accuracy,
                intervals,
                names,
                labels,
                "clips made on",
                "scored on",
                title,
                diagonal,
            )
        ]

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
        goes_on = self.full_search and getattr(attack, "early_exit", False)
        return dataclasses.replace(attack, early_exit=False) if goes_on else attack  # type: ignore[call-arg]


def _clean(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [model["clean"] for model in result["models"]]


def _right(lines: Lines, model: Scored) -> NDArray[np.bool_]:
    return np.array([line["right"][model.key] for line in lines])


def _proportion(right: NDArray[np.bool_]) -> dict[str, Any]:
    count, total = int(right.sum()), len(right)
    return {"acc": count / total, "ci95": list(wilson(count, total))}


def _row(label: str, lines: Lines, clean: Lines, models: Sequence[Scored]) -> dict[str, Any]:
    """Return a row of the matrix; ``fooled`` is the share of the clips that were right without attack."""
    cells = []
    for model in models:
        before, after = _right(clean, model), _right(lines, model)
        fooled, could = int((before & ~after).sum()), int(before.sum())
        rate = fooled / could if could else None
        margins = np.abs([line["margin"][model.key] for line in lines])
        cells.append(
            _proportion(before & after)
            | {"fooled": {"rate": rate, "ci95": list(wilson(fooled, could)), "n": could}}
            | {"near_ties": int((margins < NEAR_TIE).sum())}
        )
    return {
        "label": label, "cells": cells, "max_distance": max(line["distance"] for line in lines),
        "gradient_calls": sum(line["gradient_calls"] for line in lines),
    }  # fmt: skip


def _checks(
    context: Context, attack: Attack, model: Scored, models: Sequence[Scored], clean: Lines, rows: Mapping[str, Lines],
    control: Sequence[Lines],
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the checks of a column of the matrix: clips made elsewhere must not beat the white-box ones."""
    before = _right(clean, model)
    columns = [Column(f"white-box {context.attack_name}", attack)]
    right = {"clean": before, columns[0].name: before & _right(rows[model.label], model)}
    others = {m.label: (str(m.source), rows[m.label]) for m in models if m is not model}
    others |= {"an untrained network": (UNTRAINED, lines) for lines in control}
    for label, (source, lines) in others.items():
        columns.append(Column(f"transfer from {label}", Transfer(attack=attack, surrogate=source)))
        right[columns[-1].name] = before & _right(lines, model)
    return [dataclasses.asdict(check) for check in table_checks(columns, right, len(context.classes))]

"""Every branch of MultiBN on every kind of input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch import nn

from advvid.analyses.base import Analysis, Context
from advvid.analyses.batches import no_answers
from advvid.analyses.figures import Axis, matrix
from advvid.attacks.base import Attack, in_space
from advvid.attacks.joint import Both, Joint
from advvid.core.errors import AdvvidError
from advvid.evaluation.columns import Column
from advvid.evaluation.evaluator import CLEAN, Evaluator
from advvid.evaluation.table import percent
from advvid.evaluation.tally import has_verdicts, proportion, verdicts
from advvid.metrics.statistics import bootstrap_difference, bootstrap_mean
from advvid.models.multi_branch import MultiBranch, Through
from advvid.tasks.base import Task

Right = Mapping[str, NDArray[np.bool_]]
HAND, SELECTOR = "by hand", "selector"


@dataclass(frozen=True, kw_only=True)
class BranchMatrix(Analysis):
    """Accuracy of each branch on clean clips and under each attack, and with each input in its own branch (Lo & Patel).

    The row *by hand* is MultiBN-manual: an input's kind is known, and it goes through its branch. Where the model has a
    selector there is a row for the whole system, and how often each branch got the highest score on each input. Under
    ``special`` stands by how much a branch is better on its own inputs than the best other one, on the same clips.

    Args:
        attacks: by the names that they have in training; ``clean`` needs none.
        made_on: ``scored``: each cell's clips are made on the branch that is scored, white box; ``family``: on the
            attack's own branch, so that a row says what a wrong choice costs.

    Example:
        >>> BranchMatrix(attacks={"pgd": PGD()}).made_on         # doctest: +SKIP
        'scored'
    """

    attacks: Mapping[str, Attack] = field(default_factory=dict)
    made_on: Literal["scored", "family"] = "scored"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.attacks:
            raise AdvvidError("analysis.attacks is empty: name attacks as they were called in training, such as pgd")

    def run(self, context: Context) -> dict[str, Any]:
        """Score every branch on every input.

        Raises:
            AdvvidError: for a model without branches, or an attack that belongs to none of them.
        """
        model = context.model
        if not isinstance(model, MultiBranch):
            raise AdvvidError(
                f"analysis={context.name} needs a model with branches: train one with defense=multibn or multibn_manual"
            )
        own = {name: model.branch_of(name) for name in (CLEAN, *self.attacks)}
        right, chosen = {}, {}
        for k, name in enumerate(model.names):
            right[name], _ = self._scored(context, f"branch_{k}", Through(model, k, alone=True), model, context.task)
        rows = [_row(name, right[name]) for name in model.names]
        by_hand = {name: right[model.names[k]][name] for name, k in own.items()}
        rows.append(_row(HAND, by_hand))
        if model.selector is not None:
            classes = len(context.classes)
            system, evaluator = self._scored(context, SELECTOR, Both(model), model, Joint(context.task, classes))
            rows.append(_row(SELECTOR, system))
            for name in own:
                best = evaluator.outputs(name)[:, classes:].argmax(dim=1).numpy()
                # Clips that are wrong without attack were not attacked.
                best = best if name == CLEAN else best[system[CLEAN]]
                chosen[name] = [float((best == k).mean()) if len(best) else None for k in range(len(model.names))]
        return {
            "n": len(context.split),
            "made_on": self.made_on,
            "branches": list(model.names),
            "inputs": list(own),
            "own": {name: model.names[k] for name, k in own.items()},
            "rows": rows,
            "chosen": chosen,
            "accuracy": [[cell["acc"] for cell in row["cells"]] for row in rows],
            "special": {name: _special(name, model.names[k], right) for name, k in own.items()},
            "budgets": {name: attack.threat.budget for name, attack in self.attacks.items()},
        }

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw the matrix with intervals, each input's own branch framed."""
        rows = [[*row["cells"], row["mean"], row["union"]] for row in result["rows"]]
        accuracy = np.array([[cell["acc"] for cell in row] for row in rows])
        intervals = np.array([[cell["ci95"] for cell in row] for row in rows])
        framed = [(result["branches"].index(b), result["inputs"].index(i)) for i, b in result["own"].items()]
        path = folder / f"{name}.png"
        branches = Axis("branch", [row["label"] for row in result["rows"]], len(result["branches"]))
        inputs = Axis("input", [*result["inputs"], "mean", "union"])
        title = f"n = {result['n']}; framed: an input's own branch"
        matrix(path, accuracy, intervals, branches, inputs, title, framed)
        return [path]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return the matrix with intervals, and what the branches and the selector are good for."""
        title = f"branch by input: percent right, n = {result['n']}, [95% interval]"
        layout = Table(title=title, title_justify="left", header_style="bold")
        for heading in ("branch", *result["inputs"], "mean", "union"):
            layout.add_column(heading, overflow="fold")
        for i, row in enumerate(result["rows"]):
            if i == len(result["branches"]):
                layout.add_section()
            special = [result["own"][name] == row["label"] for name in result["inputs"]]
            cells = [Text(percent(c), style="bold" if s else "") for c, s in zip(row["cells"], special, strict=True)]
            layout.add_row(row["label"], *cells, percent(row["mean"]), percent(row["union"]))
        notes = [f"bold: an input's own branch; clips made on: {result['made_on']}"]
        for name, found in result["special"].items():
            if found is not None:
                low, high = (100 * end for end in found["ci95"])
                notes.append(
                    f"{name}: its branch less the best other one ({found['other']}) {100 * found['difference']:+.1f} points "
                    f"[{low:+.1f}, {high:+.1f}]"
                )
        for name, shares in result["chosen"].items():
            said = ", ".join(f"{b} {100 * (s or 0):.0f}%" for b, s in zip(result["branches"], shares, strict=True))
            notes.append(f"selector on {name}: {said}")
        return Group(layout, *(Text(note) for note in notes))

    def _scored(
        self, context: Context, label: str, scored: nn.Module, model: MultiBranch, task: Task
    ) -> tuple[Right, Evaluator]:
        """Score one row; what was scored before in this run folder is read from there."""
        columns = []
        for name, attack in self.attacks.items():
            inside = in_space(attack, context.attack.space)
            if self.made_on == "scored" or label == SELECTOR:
                columns.append(Column(name, inside))
                continue
            # Whoever attacks another branch cannot tell when this one is fooled.
            seen = Through(model, model.branch_of(name), alone=True)
            columns.append(Column(name, inside.adjusted(early_exit=False), "gray_box", seen))
        evaluator = context.evaluator(scored, columns, context.cells / label, task)
        samples = evaluator.run(context.batches, context.clips, context.batch_size)
        if not has_verdicts(samples):
            raise no_answers(context)
        return verdicts(samples, list(self.attacks)), evaluator


def _row(label: str, right: Right) -> dict[str, Any]:
    """Return a row of the matrix, with mean and union over its inputs, clean included."""
    every = np.stack(list(right.values()), axis=1)
    in_all: NDArray[np.bool_] = np.logical_and.reduce(every, axis=1)
    return {
        "label": label,
        "cells": [proportion(column) for column in right.values()],
        "mean": {"acc": float(every.mean()), "ci95": list(bootstrap_mean(every, np.random.default_rng(0)))},
        "union": proportion(in_all),
    }


def _special(name: str, own: str, right: Mapping[str, Right]) -> dict[str, Any] | None:
    """Return by how much an input's branch beats the best other one; None where there is no other."""
    others: Sequence[str] = [branch for branch in right if branch != own]
    if not others:
        return None
    other = max(others, key=lambda branch: float(right[branch][name].mean()))
    difference, interval = bootstrap_difference(right[own][name], right[other][name], np.random.default_rng(0))
    return {"other": other, "difference": difference, "ci95": list(interval)}

"""Whether attacking the selector of MultiBN as well makes an attack stronger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import MinLen
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from advvid.analyses.base import Analysis, Context
from advvid.analyses.batches import no_answers
from advvid.analyses.figures import curves
from advvid.analyses.settings import written_values
from advvid.attacks.base import Attack, in_space
from advvid.attacks.joint import Both, Joint, JointAttack, with_selector
from advvid.core.errors import AdvvidError
from advvid.core.kinds import NotNegativeNumber
from advvid.evaluation.columns import Column
from advvid.evaluation.table import percent
from advvid.evaluation.tally import has_verdicts, proportion, summarise, verdicts
from advvid.metrics.statistics import bootstrap_difference


@dataclass(frozen=True, kw_only=True)
class SelectorAttack(Analysis):
    """The adaptive attack on target and selector over lambda (Lo & Patel, "Robustness against adaptive attacks").

    The authors find that the ordinary attack, lambda 0, is the strongest. Each lambda's gain over it is judged on the
    same clips with the same random numbers, and the claim holds if no lambda fools more of them. The selector is told
    right where it gives the attack's own branch the highest score.

    Args:
        values: of lambda, 0 among them.
        attacks: by the names that they have in training.

    Example:
        >>> SelectorAttack(values=[0, 1], attacks={"pgd": PGD()}).values         # doctest: +SKIP
        [0, 1]
    """

    values: Annotated[Sequence[NotNegativeNumber], MinLen(1)] = (0, 0.1, 0.3, 1, 3, 10)
    attacks: Mapping[str, Attack] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(written_values(self.values).values()) != 0:
            raise AdvvidError("analysis.values needs 0, the ordinary attack that others are compared with, and no less")
        if not self.attacks:
            raise AdvvidError("analysis.attacks is empty: name attacks as they were called in training, such as pgd")
        for name, attack in self.attacks.items():
            JointAttack(attack=attack, family=name)  # refuses what has no loss to add to

    def run(self, context: Context) -> dict[str, Any]:
        """Score the model under every attack at every lambda.

        Raises:
            AdvvidError: for a model without a selector, or an attack that belongs to none of its branches.
        """
        model = with_selector(context.model)
        written = written_values(self.values)
        branches = {name: model.branch_of(name) for name in self.attacks}
        columns = {
            # What stands before the sign names the random numbers: the same for every lambda.
            (name, text): Column(
                f"{name}@lambda={text}", JointAttack(attack=in_space(a, context.attack.space), weight=w, family=name)
            )
            for name, a in self.attacks.items()
            for text, w in written.items()
        }
        task = Joint(context.task, len(context.classes))
        every = list(columns.values())
        evaluator = context.evaluator(Both(model), every, context.cells, task)
        samples = evaluator.run(context.batches, context.clips, context.batch_size)
        if not has_verdicts(samples):
            raise no_answers(context)
        right = verdicts(samples, [column.name for column in every])
        lines: list[dict[str, Any]] = []
        for name, branch in branches.items():
            points = []
            for text in written:
                column, plain = columns[name, text].name, columns[name, next(iter(written))].name
                chosen = evaluator.outputs(column)[:, task.classes :].argmax(dim=1).numpy()
                points.append(
                    {
                        "lambda": text,
                        **proportion(right[column]),
                        # Clips that are wrong without attack were not attacked.
                        "selector_right": proportion((chosen == branch)[right["clean"]]),
                        "gain": _gain(right[plain], right[column]),
                    }
                )
            lines.append(
                {"label": name, "branch": model.names[branch], "clean": proportion(right["clean"]), "points": points}
            )
        totals = {text: summarise(samples, [columns[name, text].name for name in self.attacks]) for text in written}
        clean = evaluator.outputs("clean")[:, task.classes :].argmax(dim=1).numpy()
        return {
            "n": len(samples),
            "written": list(written),
            "values": list(written.values()),
            "branches": list(model.names),
            "chance": 1 / len(context.classes),
            "clean": proportion(right["clean"]),
            "clean_selector_right": proportion(clean == model.branch_of("clean")),
            "attacks": lines,
            "mean": [totals[text]["mean"] for text in written],
            "union": [totals[text]["union"] for text in written],
            "budgets": {name: attack.threat.budget for name, attack in self.attacks.items()},
        }

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw accuracy over lambda, a line per attack; the values stand at equal distances."""
        shown = {
            "models": result["attacks"],
            "values": list(range(len(result["values"]))),
            "written": result["written"],
            "field": "lambda, weight of the selector's loss",
            "attack": "attack on classifier and selector",
            "n": result["n"],
            "chance": result["chance"],
        }
        return [curves(shown, folder / f"{name}.png")]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return a row per lambda: percent right by attack with how often the selector was right, mean and union."""
        title = f"attack on classifier and selector: percent right, [95% interval], selector right; n = {result['n']}"
        layout = Table(title=title, title_justify="left", header_style="bold")
        for heading in ("lambda", *(line["label"] for line in result["attacks"]), "mean", "union"):
            layout.add_column(heading, overflow="fold")
        for i, text in enumerate(result["written"]):
            points = [line["points"][i] for line in result["attacks"]]
            cells = [f"{percent(p)}, {100 * (p['selector_right']['acc'] or 0):.0f}" for p in points]
            layout.add_row(text, *cells, percent(result["mean"][i]), percent(result["union"][i]))
        clean = f"no attack: {percent(result['clean'])}, selector right on {percent(result['clean_selector_right'])}"
        return Group(layout, Text(clean))


def _gain(plain: NDArray[np.bool_], joint: NDArray[np.bool_]) -> dict[str, Any]:
    """Return how many more clips are fooled than by the ordinary attack, with its paired interval."""
    difference, interval = bootstrap_difference(plain, joint, np.random.default_rng(0))
    return {"difference": difference, "ci95": list(interval)}

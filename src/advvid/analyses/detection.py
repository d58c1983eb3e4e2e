"""How well a detector tells attacked clips from clean ones, and from an adversary who knows of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import MinLen
from rich.console import Group, RenderableType

from advvid.analyses.base import Analysis, Context
from advvid.analyses.batches import by_batch, right_clips
from advvid.analyses.detection_figures import histogram, roc_figure
from advvid.attacks.base import Attack
from advvid.attacks.pgd import PGD
from advvid.attacks.sparse import Sparse
from advvid.core import digests
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.kinds import NotNegative, Share
from advvid.data.loader import Clips
from advvid.detectors.joint_attack import JointPGD
from advvid.detectors.temporal_consistency import TemporalConsistency
from advvid.detectors.thresholds import choose, judge, roc
from advvid.evaluation.columns import Column, craft
from advvid.evaluation.fitting import fit_columns
from advvid.evaluation.table import Block
from advvid.metrics.statistics import wilson

CLEAN, SPARSE, DENSE = "clean", "sparse", "dense"


@dataclass(frozen=True, kw_only=True)
class Detection(Analysis):
    """Tables 1 and 2 and figures 2 and 4 of Jia et al., for any detector, and what an adaptive adversary leaves of them.

    Both thresholds are chosen by F1 on the validation clips: gamma_1 between clean and attacked clips, gamma_2 between
    sparse and dense attacks. Precision, recall, F1 and the ROC are then of the test clips. Attacked clips are those that
    were right and are fooled; the others are no adversarial videos.

    Args:
        sparse: attack on few frames.
        dense: attack on all frames; a PGD for the adaptive part.
        gamma_1: thresholds to choose from.
        gamma_2: thresholds to choose from.
        detector: whose index is asked; its own thresholds play no part.
        weights: lambdas of the joint attack on classifier and detector (``JointPGD``); 0 is the attack that does not
            know of the detector.
    """

    sparse: Attack = field(default_factory=Sparse)
    dense: Attack = field(default_factory=PGD)
    gamma_1: Annotated[Sequence[Share], MinLen(1)] = (0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.225, 0.25)
    gamma_2: Annotated[Sequence[Share], MinLen(1)] = (0.25, 0.275, 0.3, 0.325, 0.35, 0.375, 0.4, 0.425)
    detector: TemporalConsistency = field(default_factory=TemporalConsistency)
    weights: Sequence[NotNegative] = (0.0, 1.0, 10.0, 100.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights and not isinstance(self.dense, PGD):
            raise AdvvidError(
                "analysis.weights needs a PGD as analysis.dense: choose attack@analysis.dense=pgd, or weights=[]"
            )
        if getattr(self.detector, "network", None) is not None:
            raise AdvvidError(
                "analysis.detector.network is not possible: the detector asks the run's model here, leave it null"
            )

    def run(self, context: Context) -> dict[str, Any]:
        """Compute the index of clean and attacked clips of both splits, choose the thresholds, and score them.

        Raises:
            AdvvidError: if an attack leaves its threat set, or fools no validation or no test clip.
        """
        attacks = {kind: c.attack for kind, c in fitted(context, {SPARSE: self.sparse, DENSE: self.dense}).items()}
        val = self._indices(context, context.learning, "val", attacks)
        test = self._indices(context, context.split, "test", attacks)
        if not val[SPARSE] + val[DENSE] or not val[CLEAN]:
            raise AdvvidError(
                "the attacks fool no validation clip, so that no threshold can be chosen: raise their budgets or dataset.limit_val"
            )
        parts = {"gamma_1": (self.gamma_1, [CLEAN], [SPARSE, DENSE]), "gamma_2": (self.gamma_2, [SPARSE], [DENSE])}
        found: dict[str, Any] = {}
        for name, (thresholds, negative, positive) in parts.items():
            chosen, tried = choose(*_labelled(val, negative, positive), thresholds)
            scores, truth = _labelled(test, negative, positive)
            if not len(truth):
                raise AdvvidError(
                    "the attacks fool no test clip, so that nothing can be detected: raise their budgets or dataset.limit_test"
                )
            found[name] = {
                "chosen": chosen.threshold,
                "calibration": [dataclasses.asdict(choice) for choice in tried],
                "test": dataclasses.asdict(judge(scores, truth, chosen.threshold)),
                "roc": roc(scores, truth),
            }
        gamma_1 = found["gamma_1"]["chosen"]
        gamma_2 = max(found["gamma_2"]["chosen"], gamma_1)
        detector = TemporalConsistency(gamma_1=gamma_1, gamma_2=gamma_2)
        verdicts = {
            kind: np.bincount(detector.verdict(torch.tensor(test[kind])).numpy(), minlength=3).tolist() for kind in test
        }
        return {
            **found,
            "n": {"calibration": _counts(val), "test": _counts(test)},
            "index": test,
            "detector": self.detector.title,
            "axis": self.detector.axis,
            "reading": self.detector.reading(context.model),
            "verdicts": verdicts,
            "adaptive": self._adaptive(context, detector, test[CLEAN]),
            "attacks": {name: f"{type(a).__name__}, {a.threat.budget}" for name, a in attacks.items()},
        }

    def _adaptive(
        self, context: Context, detector: TemporalConsistency, clean: Sequence[float]
    ) -> list[dict[str, Any]]:
        """Return, per lambda, how often the joint attack fools, is detected, and both fools and is not detected."""
        rows = []
        for weight in self.weights:
            settings = {f.name: getattr(self.dense, f.name) for f in dataclasses.fields(PGD)}
            attack = JointPGD(**settings, weight=float(weight), detector=self.detector)
            known = self._indices(context, context.split, "test", {f"joint_{weight:g}": attack})
            index, right = known[f"joint_{weight:g}"], len(known[CLEAN])
            hidden = int((detector.verdict(torch.tensor(index, dtype=torch.float)) == 0).sum()) if index else 0
            rows.append(
                {
                    "weight": float(weight),
                    "right": right,
                    "fooled": len(index),
                    "hidden": hidden,
                    "fooling_rate": len(index) / right if right else None,
                    "undetected_rate": hidden / right if right else None,
                    "ci95": list(wilson(hidden, right)) if right else None,
                    "auc": roc([*clean, *index], [False] * len(clean) + [True] * len(index))["auc"],
                }
            )
        return rows

    def _indices(
        self, context: Context, split: Clips, name: str, attacks: Mapping[str, Attack]
    ) -> dict[str, list[float]]:
        """Return the detector's index of every clip that is right, and of each attack's clips that fool the model."""
        found = {kind: list[float]() for kind in (CLEAN, *attacks)}
        made = (
            digests.of_module(context.model),
            [Column(kind, attack).rests_on for kind, attack in attacks.items()],
            self.detector.reading(context.model),
        )
        title = f"{name}: {', '.join(attacks)}"
        for batch in by_batch(
            context, split, name, made, title, lambda batch: _batch(context, self.detector, batch, attacks)
        ):
            for kind, values in batch.items():
                found[kind] += values
        return found

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw the ROC curves and the histogram of the index."""
        return [roc_figure(result, folder / f"{name}_roc.png"), histogram(result, folder / f"{name}_index.png")]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return the thresholds tried, the scores of the chosen ones, and the adaptive attack's rows."""
        return Group(*(block.rich() for block in blocks(result)))


def blocks(result: Mapping[str, Any]) -> Iterator[Block]:
    """Yield the tables of a result."""
    for name, question in (("gamma_1", "clean or attacked"), ("gamma_2", "sparse or dense")):
        part = result[name]
        test = part["test"]
        rows = [("calibration", *_row(choice)) for choice in part["calibration"]] + [("test, chosen", *_row(test))]
        auc = part["roc"]["auc"]
        title = f"{name}: {question}, AUC on test {'–' if auc is None else f'{auc:.3f}'}"
        yield Block(title, ("clips", name, "precision", "recall", "F1"), tuple(rows))
    rows = [
        (
            f"{row['weight']:g}",
            str(row["right"]),
            _percent(row["fooling_rate"]),
            _percent(row["undetected_rate"]),
            "–" if row["auc"] is None else f"{row['auc']:.3f}",
        )
        for row in result["adaptive"]
    ]
    if rows:
        header = ("lambda", "n", "fools %", "fools undetected %", "AUC against it")
        yield Block("An adversary who knows the detector", header, tuple(rows))


def fitted(context: Context, attacks: Mapping[str, Attack]) -> dict[str, Column]:
    """Return the attacks as columns, those that learn fitted on the validation clips."""
    columns = [Column(kind, attack) for kind, attack in attacks.items()]
    ready = fit_columns(
        columns,
        context.model,
        context.learning_batches,
        lambda: context.learning_clips,
        context.task,
        context.seed,
        context.cells,
    )
    return {column.name: column for column in ready}


def _row(choice: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(f"{choice[key]:.3f}" for key in ("threshold", "precision", "recall", "f1"))


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _counts(indices: Mapping[str, Sequence[float]]) -> dict[str, int]:
    return {kind: len(values) for kind, values in indices.items()}


def _labelled(
    indices: Mapping[str, Sequence[float]], negative: Sequence[str], positive: Sequence[str]
) -> tuple[list[float], list[bool]]:
    low = [value for kind in negative for value in indices[kind]]
    high = [value for kind in positive for value in indices[kind]]
    return [*low, *high], [False] * len(low) + [True] * len(high)


def _batch(
    context: Context, detector: TemporalConsistency, batch: Batch, attacks: Mapping[str, Attack]
) -> dict[str, list[float]]:
    model, task = context.model, context.task
    everyone = torch.arange(len(batch), device=batch.inputs.device)
    todo = everyone[right_clips(context, model, batch.inputs, batch.target)]
    kept = {CLEAN: detector.index(model, batch.inputs[todo]).tolist() if len(todo) else []}
    for kind, attack in attacks.items():
        kept[kind] = []
        if len(todo):
            ids = [batch.ids[i] for i in todo.tolist()]
            result, _ = craft(
                Column(kind, attack), model, batch.inputs[todo], batch.target[todo], ids, context.seed, task
            )
            fooled = ~right_clips(context, model, result.x_adv, batch.target[todo])
            kept[kind] = detector.index(model, result.x_adv[fooled]).tolist() if bool(fooled.any()) else []
    return kept

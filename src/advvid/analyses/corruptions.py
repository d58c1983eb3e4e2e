"""Accuracy under corruptions: by kind, over severity, and beside that on clean clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import MinLen
from rich.console import RenderableType
from rich.table import Table

from advvid.analyses.base import Analysis, Context
from advvid.analyses.batches import no_answers
from advvid.analyses.figures import curves
from advvid.analyses.scored import Checkpoints, Scored, named_paths, scored_models
from advvid.attacks.corruption import Corruption, Severity
from advvid.core.errors import AdvvidError
from advvid.evaluation.columns import Column
from advvid.evaluation.table import percent
from advvid.evaluation.tally import average, has_verdicts, proportion, verdicts

ALL = "all kinds"


@dataclass(frozen=True, kw_only=True)
class Corruptions(Analysis):
    """Mean accuracy and relative robustness of one or several models under each kind of corruption (Schiappa et al. 2022).

    The mean is over severities. Relative robustness is ``1 - (A_clean - A_corrupted) / A_clean`` (their sec. 4.2), the share
    of the clips that are right on clean and stay right. As in every table here, a clip that is wrong on clean counts as
    wrong when corrupted, so that both are at most what a benchmark that scores it again would find. Intervals are 95%:
    bootstrapped over clips, Wilson's for clean.

    Args:
        kinds: corruptions by name.
        severities: of 1 to 5, each scored.
        checkpoints: further runs or ``.pt`` files, each a column of its own.
        labels: names of the models, the run's own first; made from defenses or folders where empty.

    Example:
        >>> Corruptions(kinds={"jpeg": CodecCorruption(kind="jpeg")})       # doctest: +SKIP
    """

    kinds: Mapping[str, Corruption] = field(default_factory=dict)
    severities: Annotated[Sequence[Severity], MinLen(1)] = (1, 2, 3, 4, 5)
    checkpoints: Checkpoints = ()
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.kinds:
            raise AdvvidError("analysis.kinds is empty: add one, as in +attack@analysis.kinds.jumbling=time_corruption")
        object.__setattr__(self, "checkpoints", named_paths(self.checkpoints))
        object.__setattr__(self, "severities", tuple(sorted(set(self.severities))))

    def run(self, context: Context) -> dict[str, Any]:
        """Score every model under every kind at every severity.

        Raises:
            AdvvidError: for models of other classes, or a task without right answers.
        """
        models = scored_models(context, self.checkpoints, self.labels)
        return {
            "kinds": list(self.kinds),
            "field": "severity",
            "values": [0, *self.severities],
            "written": ["0", *map(str, self.severities)],
            "n": len(context.split),
            "attack": "mean over corruptions",
            "chance": 1 / len(context.classes),
            "models": [self._line(context, model) for model in models],
        }

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw the mean over kinds against severity, a line per model with its 95% band; severity 0 is clean."""
        return [curves(result, folder / f"{name}.png")]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return a row per kind, and per model its mean accuracy and relative robustness."""
        title = f"Percent right under corruptions, mean over severities, n = {result['n']}, [95% interval]"
        layout = Table(title=title, title_justify="left", header_style="bold")
        layout.add_column("kind")
        for model in result["models"]:
            layout.add_column(model["label"], overflow="fold", justify="right")
            layout.add_column("relative", overflow="fold", justify="right")
        clean = [cell for model in result["models"] for cell in (percent(model["clean"]), "")]
        layout.add_row("clean", *clean, end_section=True)
        for kind in (*result["kinds"], ALL):
            scores = [model["kinds"][kind] for model in result["models"]]
            layout.add_row(kind, *(percent(score[part]) for score in scores for part in ("mean", "relative")))
        return layout

    def _line(self, context: Context, model: Scored) -> dict[str, Any]:
        """Score one model; what was scored before in this run folder is read from there."""
        names = {kind: [f"{kind}_{severity}" for severity in self.severities] for kind in self.kinds}
        columns = [
            Column(name, corruption.at(severity))
            for kind, corruption in self.kinds.items()
            for name, severity in zip(names[kind], self.severities, strict=True)
        ]
        evaluator = context.evaluator(model.model, columns, context.cells / model.key)
        samples = evaluator.run(context.batches, context.clips, context.batch_size)
        if not has_verdicts(samples):
            raise no_answers(context)
        right = verdicts(samples, [column.name for column in columns])
        clean, every = right["clean"], {name: np.stack([right[n] for n in group], 1) for name, group in names.items()}
        every[ALL] = np.concatenate(list(every.values()), axis=1)
        of_severity = [np.stack([right[group[i]] for group in names.values()], 1) for i in range(len(self.severities))]
        whole = proportion(clean)
        kinds = {
            kind: {
                "mean": average(found),
                "relative": average(found[clean]) if clean.any() else {},
                "severities": [float(share) for share in found.mean(axis=0)] if kind != ALL else [],
            }
            for kind, found in every.items()
        }
        return {
            **model.origin,
            "clean": whole,
            "kinds": kinds,
            "points": [whole, *map(average, of_severity)],
        }

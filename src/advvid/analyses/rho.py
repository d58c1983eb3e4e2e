"""How small a change fools one or several models: the statistic rho."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from advvid.analyses.base import Analysis, Context
from advvid.analyses.figures import COLOURS, DASHES, DPI, MARKERS, finish, save
from advvid.analyses.means import mean_difference, mean_of
from advvid.analyses.scored import Checkpoints, Scored, named_paths, scored_models
from advvid.attacks.base import in_space
from advvid.attacks.deep_fool import DeepFool
from advvid.core.errors import AdvvidError
from advvid.core.progress import bar
from advvid.evaluation.columns import Column, craft


@dataclass(frozen=True, kw_only=True)
class Rho(Analysis):
    """The l2 norm of the smallest change that DeepFool finds over that of the clip (Choudhary et al., sec. 3.2.4, figure 4).

    Its mean over the clips is larger for a more robust model. A clip that is wrong already needs no change and counts 0;
    one for which none was found is counted apart and left out, of a comparison in both models.

    Args:
        attack: a DeepFool without budget.
        checkpoints: further runs or ``.pt`` files, each a row of its own.
        labels: names of the models, the run's own first; made from defenses or folders where empty.

    Example:
        >>> Rho().attack.threat.budget
        'any clip, measured in l2'
    """

    attack: DeepFool = field(default_factory=DeepFool)
    checkpoints: Checkpoints = ()
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attack.eps is not None or self.attack.norm != "l2":
            raise AdvvidError(
                "rho is measured by DeepFool in l2 without a budget: leave analysis.attack=deep_fool as it is"
            )
        object.__setattr__(self, "checkpoints", named_paths(self.checkpoints))

    def run(self, context: Context) -> dict[str, Any]:
        """Look for the smallest change of every clip under every model."""
        attack = in_space(self.attack, context.attack.space)
        assert isinstance(attack, DeepFool)
        rows = [self._row(context, model, attack) for model in scored_models(context, self.checkpoints, self.labels)]
        for row in rows[1:]:
            row["difference"] = compared(row["clips"], rows[0]["clips"])
        return {
            "n": len(context.split),
            "ids": list(context.split.ids),
            "settings": Column("rho", attack).settings,
            "models": rows,
        }

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw the means with their intervals, and how many clips a change of each size fools."""
        figure = Figure(figsize=(7.4, 3.4), dpi=DPI, layout="constrained", facecolor="white")
        means, shares = figure.subplots(1, 2, width_ratios=(1, 1.6))
        rows = result["models"]
        for i, row in enumerate(rows):
            colour, marker, dash = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)]
            if row["rho"] is not None:
                mean, (low, high) = row["rho"]["mean"], row["rho"]["ci95"]
                means.errorbar(i, mean, [[mean - low], [high - mean]], fmt=marker, color=colour, capsize=4)
            # One that was not fooled counts below the line's end, not as fooled by the largest change.
            found = sorted(value for value in row["clips"] if value is not None)
            percent = 100 * np.arange(1, len(found) + 1) / len(row["clips"])
            shares.step(found, percent, where="post", color=colour, linestyle=dash, label=row["label"])
        means.set_xticks(range(len(rows)), [row["label"] for row in rows], size=8, rotation=20)
        means.set_xlim(-0.5, len(rows) - 0.5)
        means.set_ylim(bottom=0)
        means.set_ylabel("mean rho, 95% interval")
        shares.set_xlabel("size of the change over that of the clip")
        shares.set_ylabel("percent fooled")
        shares.set_ylim(-2, 102)
        for axes in (means, shares):
            finish(axes)
        figure.suptitle(f"the smallest change that fools (DeepFool, l2), n = {result['n']}", size=10)
        return [save(figure, folder / f"{name}.png")]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return a row per model."""
        layout = Table(
            title=f"rho by DeepFool, n = {result['n']}, [95% interval]", title_justify="left", header_style="bold"
        )
        for heading in ("model", "rho", "wrong without a change", "no change found"):
            layout.add_column(heading, overflow="fold")
        notes = []
        for row in result["models"]:
            said = (
                "–" if row["rho"] is None else "{:.4f} [{:.4f}, {:.4f}]".format(row["rho"]["mean"], *row["rho"]["ci95"])
            )
            layout.add_row(row["label"], said, str(row["wrong"]), str(row["not_found"]))
            if row.get("difference"):
                low, high = row["difference"]["ci95"]
                notes.append(
                    f"{row['label']} less {result['models'][0]['label']}: {row['difference']['mean']:+.4f} [{low:+.4f}, "
                    f"{high:+.4f}] on the same clips"
                )
        return Group(layout, *(Text(note) for note in notes))

    def _row(self, context: Context, scored: Scored, attack: DeepFool) -> dict[str, Any]:
        clips: list[float | None] = []
        with bar(scored.label, len(context.split)) as progress:
            for batch in context.batches():
                result, _ = craft(
                    Column("rho", attack),
                    scored.model,
                    batch.inputs,
                    batch.target,
                    batch.ids,
                    context.seed,
                    context.task,
                )
                clips += [value if math.isfinite(value) else None for value in result.aux["rho"].tolist()]
                progress.advance(len(batch))
        found = [value for value in clips if value is not None]
        return {
            **scored.origin,
            "clips": clips,
            "wrong": found.count(0.0),
            "not_found": len(clips) - len(found),
            "rho": mean_of(found) if found else None,
        }


def compared(values: Sequence[float | None], base: Sequence[float | None]) -> dict[str, Any] | None:
    """Return by how much the mean of the first exceeds that of the second on the clips that both have, or None."""
    pairs = [(a, b) for a, b in zip(values, base, strict=True) if a is not None and b is not None]
    if not pairs:
        return None
    one, two = np.array(pairs).T
    return {**mean_difference(one, two), "n": len(pairs)}

"""How good a key frame each rule of choice finds: the first one, Bayesian optimisation, and trying every frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from advvid.analyses.base import Analysis, Context
from advvid.analyses.batches import by_batch, right_clips
from advvid.analyses.figures import COLOURS, DASHES, MARKERS, finish, plot, save
from advvid.analyses.means import mean_difference, mean_of
from advvid.attacks.base import in_space
from advvid.attacks.deep_sava import DeepSAVA
from advvid.attacks.keyframe import KeyFrame
from advvid.attacks.sparse_attack import SparseAttack
from advvid.core import digests
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.evaluation.columns import Column, craft
from advvid.metrics.statistics import wilson

FIRST: Final = "first"
BAYESIAN: Final = "bayesian"
EVERY: Final = "brute_force"
TITLES: dict[KeyFrame, str] = {FIRST: "first frame", BAYESIAN: "Bayesian optimisation", EVERY: "every frame"}


@dataclass(frozen=True, kw_only=True)
class FrameSearch(Analysis):
    """The loss that a sparse attack reaches by each choice of its key frames (Mu et al., sec. 4.2.5, table 8, figure 7).

    The paper does not say which loss it draws. Here it is the task's own (cross entropy of the label on the attacked
    clip), after all steps: no search stops at the first fooling iterate. Clips that are wrong without attack are left out.

    Args:
        attack: a sparse attack; its ``key_frame`` and ``early_exit`` are this analysis' matter.

    Example:
        >>> FrameSearch().attack.key_frame
        'bayesian'
    """

    attack: SparseAttack = field(default_factory=DeepSAVA)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attack.given is not None:
            raise AdvvidError(
                "analysis=frame_search compares choices of key frames: set analysis.attack to an attack that chooses them, "
                "such as deep_sava or sparse, without given frames"
            )

    def run(self, context: Context) -> dict[str, Any]:
        """Attack every clip that is right by every choice of frames.

        Raises:
            AdvvidError: if no clip is right, or an attack leaves its threat.
        """
        attack = in_space(self.attack, context.attack.space)
        assert isinstance(attack, SparseAttack)
        columns = [Column(rule, dataclasses.replace(attack, key_frame=rule, early_exit=False)) for rule in TITLES]
        settings = [column.settings for column in columns]
        made = (digests.of_module(context.model), [column.rests_on for column in columns])
        clips: dict[str, list[Any]] = {}
        for batch in by_batch(
            context,
            context.split,
            context.name,
            made,
            "choices of frames",
            lambda batch: _batch(context, batch, columns),
        ):
            for name, values in batch.items():
                clips.setdefault(name, []).extend(values)
        if not clips.get("id"):
            raise AdvvidError("no clip is right without an attack: train the model longer")
        return {"n": len(clips["id"]), "settings": settings[1], "clips": clips, **summary(clips)}

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw each clip's loss, in the order of what trying every frame finds."""
        losses = {rule: np.array([row["loss"] for row in result["clips"][rule]]) for rule in TITLES}
        order = losses[EVERY].argsort()
        figure, axes = plot(6.4, 3.8)
        for i, (rule, title) in enumerate(TITLES.items()):
            axes.plot(
                range(len(order)),
                losses[rule][order],
                label=title,
                color=COLOURS[i],
                marker=MARKERS[i],
                markersize=3,
                linestyle=DASHES[0] if rule == EVERY else "none",
            )
        axes.set_xlabel("clips, by the loss that the best of all frames gives")
        axes.set_ylabel("loss of the attacked clip (cross entropy)")
        axes.set_title(f"attacked frames of a clip: {self.attack.frames}, n = {result['n']}", size=10)
        finish(axes)
        return [save(figure, folder / f"{name}.png")]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return a row per choice of frames."""
        layout = Table(title=f"choice of frames, n = {result['n']}, [95% interval]", title_justify="left")
        for heading in ("frames", "loss", "fooled %", "gradients per clip", "less than every frame"):
            layout.add_column(heading, overflow="fold")
        for rule, title in TITLES.items():
            row = result["rules"][rule]
            fooled = "{:.1f} [{:.1f}, {:.1f}]".format(
                *(100 * x for x in (row["fooled"]["rate"], *row["fooled"]["ci95"]))
            )
            less = "" if rule == EVERY else _said(row["less_than_every"])
            layout.add_row(title, _said(row["loss"]), fooled, f"{row['gradient_calls']:.0f}", less)
        same = 100 * result["rules"][BAYESIAN]["same_frames"]
        return Group(
            layout,
            Text(f"Bayesian optimisation ends at the frames of the full search on {same:.0f}% of the clips."),
            Text(
                "Frames are ranked by whether they fool, then by the attack's objective, which weighs similarity as well: "
                "another choice may reach a larger loss."
            ),
        )


def summary(clips: Mapping[str, Any]) -> dict[str, Any]:
    """Return what each choice of frames reaches on the clips, and by how much it stays below the best frames.

    Shape:
        clips: per choice a row ``{loss, fooled, gradient_calls, frames}`` for each of the ``n`` clips.
    """
    best = [row["loss"] for row in clips[EVERY]]
    rules = {}
    for rule in TITLES:
        rows = clips[rule]
        losses, hits = [row["loss"] for row in rows], [row["fooled"] for row in rows]
        rules[rule] = {
            "loss": mean_of(losses),
            "fooled": {"rate": float(np.mean(hits)), "ci95": list(wilson(sum(hits), len(hits)))},
            "place": mean_of([float(np.mean(row["frames"])) for row in rows]),
            "gradient_calls": float(np.mean([row["gradient_calls"] for row in rows])),
            "less_than_every": mean_difference(best, losses),
            "same_frames": float(
                np.mean([a["frames"] == b["frames"] for a, b in zip(rows, clips[EVERY], strict=True)])
            ),
        }
    return {"rules": rules}


def _batch(context: Context, batch: Batch, columns: list[Column]) -> dict[str, list[Any]]:
    """Return what every column does to the clips of a batch that are right."""
    chosen = right_clips(context, context.model, batch.inputs, batch.target).nonzero().squeeze(1)
    ids = [batch.ids[i] for i in chosen.tolist()]
    found: dict[str, list[Any]] = {"id": ids, **{column.name: [] for column in columns}}
    clips, labels = batch.inputs[chosen], batch.target[chosen]
    for column in columns if ids else []:
        result, _ = craft(column, context.model, clips, labels, ids, context.seed, context.task)
        with torch.no_grad():
            out = context.model(result.x_adv)
        fooled = context.task.correct(out, labels)
        assert fooled is not None  # as above
        loss, places = context.task.loss(out, labels), result.aux["frames"]
        found[column.name] = [
            {
                "loss": round(float(loss[i]), 5),
                "fooled": not bool(fooled[i]),
                "gradient_calls": int(result.gradient_calls[i]),
                "frames": places[i].nonzero().squeeze(1).tolist(),
            }
            for i in range(len(ids))
        ]
    return found


def _said(found: Mapping[str, Any]) -> str:
    return "{:.3f} [{:.3f}, {:.3f}]".format(found["mean"], *found["ci95"])

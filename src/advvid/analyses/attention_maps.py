"""Attention maps of clean clips and of their adversarial counterparts: how far apart they are, and what they look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from advvid.analyses.attention_figures import map_figure, shown_maps
from advvid.analyses.base import Analysis, Context
from advvid.analyses.means import mean_difference, mean_of
from advvid.analyses.scored import Checkpoints, Scored, named_paths, scored_models
from advvid.attacks.base import Attack
from advvid.core.batch import Batch
from advvid.core.kinds import Whole
from advvid.core.progress import bar
from advvid.evaluation.columns import Column, craft
from advvid.metrics.statistics import wilson
from advvid.models.attention import Maps, distance, require_attention, with_attention

# Per clip; see ``measured``.
MEASURES = ("mse", "relative", "frobenius", "peak", "peak_adversarial", "evenness")


@dataclass(frozen=True, kw_only=True)
class AttentionMaps(Analysis):
    """How much an attack moves the attention of one or several models (Choudhary et al., sec. 3.2.2, figures 1 and 2).

    The run's attack is made against each model itself, on every clip of the split, those that are wrong already included,
    and without an early end: the paper's adversarial test set with ``attack=fgm``. The maps are averaged over heads.

    Args:
        checkpoints: further runs or ``.pt`` files, each a row of its own.
        labels: names of the models, the run's own first; made from defenses or folders where empty.
        pictures: clips whose maps are drawn for each model.

    Example:
        >>> AttentionMaps(pictures=1).pictures
        1
    """

    checkpoints: Checkpoints = ()
    labels: Sequence[str] = ()
    pictures: Whole = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "checkpoints", named_paths(self.checkpoints))

    def run(self, context: Context) -> dict[str, Any]:
        """Measure every model on every clip.

        Raises:
            AdvvidError: for a model without attention, models of other classes, or a clip outside its budget.
        """
        models = scored_models(context, self.checkpoints, self.labels)
        for model in models:
            require_attention(model.model, f"analysis={context.name}")
        rows = [self._row(context, model) for model in models]
        first = rows[0]["clips"]["mse"]
        for row in rows[1:]:
            row["mse_difference"] = mean_difference(row["clips"]["mse"], first)
        attack = context.attack
        return {
            "n": len(context.split),
            "ids": list(context.split.ids),
            "attack": context.attack_name,
            "threat": attack.threat.budget,
            "settings": Column(context.attack_name, attack).settings,
            "models": rows,
        }

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw the maps of the first clips of each model."""
        return [
            map_figure(picture, f"{row['label']}: {result['attack']}", folder / f"{name}_{number}_{index}.png")
            for number, row in enumerate(result["models"])
            for index, picture in enumerate(row["pictures"])
        ]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return a row per model."""
        layout = Table(
            title=f"attention under {result['attack']} ({result['threat']}), n = {result['n']}, [95% interval]",
            title_justify="left",
            header_style="bold",
        )
        extra = [key for key in result["models"][0]["clean"]["metrics"] if not key.endswith(("_mean", "_std"))]
        for heading in (
            "model",
            "right %",
            "attacked %",
            *(f"{key} %" for key in extra),
            "map MSE",
            "relative",
            "peak",
            "evenness",
        ):
            layout.add_column(heading, overflow="fold")
        for row in result["models"]:
            clean, adversarial = row["clean"], row["adversarial"]
            scores = [f"{100 * clean['metrics'][k]:.1f} / {100 * adversarial['metrics'][k]:.1f}" for k in extra]
            mse = row["mse"]
            layout.add_row(
                row["label"],
                _share(clean),
                _share(adversarial),
                *scores,
                f"{mse['mean']:.2e} [{mse['ci95'][0]:.1e}, {mse['ci95'][1]:.1e}]",
                f"{row['relative']['mean']:.2e}",
                f"{row['peak']['mean']:.3f}",
                f"{row['evenness']['mean']:.3f}",
            )
        notes = ["peak: largest weight in a clip's maps; evenness: entropy of a row over that of equal weights"]
        for row in result["models"][1:]:
            low, high = row["mse_difference"]["ci95"]
            notes.append(
                f"{row['label']}: MSE less that of {result['models'][0]['label']} {row['mse_difference']['mean']:+.2e} "
                f"[{low:+.2e}, {high:+.2e}] on the same clips"
            )
        return Group(layout, *(Text(note) for note in notes))

    def _row(self, context: Context, scored: Scored) -> dict[str, Any]:
        """Measure one model."""
        attack, clips, pictures = (
            whole(context.attack),
            {name: list[float]() for name in MEASURES},
            list[dict[str, Any]](),
        )
        outs, outs_adv, targets = list[Tensor](), list[Tensor](), list[Tensor]()
        with bar(scored.label, len(context.split)) as progress:
            for batch in context.batches():
                out, out_adv, maps, maps_adv = self._pair(context, scored, attack, batch)
                for kept, value in ((outs, out), (outs_adv, out_adv), (targets, batch.target.cpu())):
                    kept.append(value)
                for name, values in measured(maps, maps_adv).items():
                    clips[name] += values.tolist()
                for index in range(min(len(batch), self.pictures - len(pictures))):
                    pictures.append({"id": batch.ids[index], "layers": shown_maps(maps, maps_adv, index)})
                progress.advance(len(batch))
        target = torch.cat(targets)
        return {
            **scored.origin,
            "clean": _scores(context, torch.cat(outs), target),
            "adversarial": _scores(context, torch.cat(outs_adv), target),
            **{name: mean_of(values) for name, values in clips.items()},
            "clips": clips,
            "pictures": pictures,
        }

    def _pair(
        self, context: Context, scored: Scored, attack: Attack, batch: Batch
    ) -> tuple[Tensor, Tensor, Maps, Maps]:
        """Return outputs and maps of a batch, clean and attacked."""
        result, _ = craft(
            Column(context.attack_name, attack),
            scored.model,
            batch.inputs,
            batch.target,
            batch.ids,
            context.seed,
            context.task,
        )
        with torch.no_grad():
            out, maps = with_attention(scored.model, batch.inputs)
            out_adv, maps_adv = with_attention(scored.model, result.x_adv)
        return out.float().cpu(), out_adv.float().cpu(), maps, maps_adv


def whole(attack: Attack) -> Attack:
    """Return an attack that changes every clip to the end of its search, those that are wrong already included."""
    return attack.adjusted(early_exit=False, keep="last")


def measured(maps: Maps, maps_adv: Maps) -> dict[str, Tensor]:
    """Return what the maps of a batch say, each ``[B]``, the mean over layers (peaks: the largest).

    ``mse`` is the mean over a map's weights of the squared change (the paper's measure), ``relative`` the same over the mean
    square of the clean weights, ``frobenius`` the training's distance, ``peak`` the largest clean weight, ``evenness`` the
    mean entropy of a clean map's rows over that of equal weights: 1 where attention is flat. Padding is left out.

    Shape:
        maps: see ``advvid.models.attention``; results ``[B]`` on the CPU.
    """
    rows: dict[str, list[Tensor]] = {name: [] for name in MEASURES if name != "frobenius"}
    for name, clean in maps.items():
        attacked = maps_adv[name]
        looking, seen = (clean.sum(dim=3) > 0).sum(dim=2), (clean.amax(dim=2) > 0).sum(dim=2)  # [B, P]
        weights = (looking * seen).sum(dim=1)
        change = (clean - attacked).square().flatten(1).sum(dim=1)
        entropy = -torch.xlogy(clean, clean).sum(dim=(2, 3))
        most = (looking * seen.clamp_min(2).log()).clamp_min(1e-12)
        rows["mse"].append(change / weights)
        rows["relative"].append(change / clean.square().flatten(1).sum(dim=1))
        rows["peak"].append(clean.flatten(1).amax(dim=1))
        rows["peak_adversarial"].append(attacked.flatten(1).amax(dim=1))
        rows["evenness"].append((entropy / most).mean(dim=1))
    found = {
        name: torch.stack(parts).amax(dim=0) if name.startswith("peak") else torch.stack(parts).mean(dim=0)
        for name, parts in rows.items()
    }
    return {name: value.cpu() for name, value in (found | {"frobenius": distance(maps, maps_adv)}).items()}


def _scores(context: Context, out: Tensor, target: Tensor) -> dict[str, Any]:
    """Return accuracy, where the task has one, and the task's measures."""
    correct, scores = context.task.correct(out, target), {"metrics": context.task.metrics(out, target)}
    if correct is None:
        return scores
    right = int(correct.sum())
    return {"acc": right / len(correct), "ci95": list(wilson(right, len(correct))), **scores}


def _share(score: Mapping[str, Any]) -> str:
    return f"{100 * score['acc']:.1f}" if "acc" in score else "–"

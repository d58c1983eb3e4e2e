"""How far an attack moves the features of a network, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import RenderableType
from rich.table import Table
from torch import Tensor, nn

from advvid.analyses.base import Analysis, Context
from advvid.analyses.figures import banded, plot, save
from advvid.analyses.means import mean_difference, mean_of
from advvid.analyses.scored import Checkpoints, Scored, named_paths, scored_models
from advvid.evaluation.columns import Column, craft
from advvid.purifiers.purified import PurifiedModel


@dataclass(frozen=True, kw_only=True)
class FeatureDifference(Analysis):
    """Mean square difference between features of clean and of attacked clips (the figure of Lo & Patel's halftone slides).

    Each model is attacked by itself, through whatever stands before it, to the last step. ``relative`` of a clip and layer
    is ``||f(x') - f(x)||^2 / ||f(x)||^2``, by which networks whose features differ in size can be compared; ``square`` is the
    mean square difference itself, as on the slide. Layers are the parts of the network that have weights and are called
    one after the other: its stages and its head.

    Args:
        checkpoints: further runs or ``.pt`` files, each a line of its own.
        labels: names of the models, the run's own first; made from defenses or folders where empty.

    Example:
        >>> FeatureDifference(checkpoints=["outputs/plain"]).checkpoints
        ('outputs/plain',)
    """

    checkpoints: Checkpoints = ()
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "checkpoints", named_paths(self.checkpoints))

    def run(self, context: Context) -> dict[str, Any]:
        """Attack every clip under every model and compare its features.

        Raises:
            AdvvidError: for models of other classes, or a clip outside the attack's budget.
        """
        rows = [_row(context, model) for model in scored_models(context, self.checkpoints, self.labels)]
        first = {layer["name"]: layer["clips"] for layer in rows[0]["layers"]}
        for layer in (layer for row in rows[1:] for layer in row["layers"] if layer["name"] in first):
            layer["above_first"] = mean_difference(layer["clips"], first[layer["name"]])
        return {"n": len(context.split), "attack": context.attack_name, "models": rows}

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw the relative difference by layer, a line per model."""
        figure, axes = plot(6.4, 3.8)
        for i, row in enumerate(result["models"]):
            found = np.array([[layer["relative"]["mean"], *layer["relative"]["ci95"]] for layer in row["layers"]]).T
            banded(axes, range(found.shape[1]), found, i, row["label"], markersize=4, linestyle="-")
        longest = max((row["layers"] for row in result["models"]), key=len)
        axes.set_xticks(range(len(longest)), [layer["name"] for layer in longest], rotation=30, ha="right", size=8)
        axes.set_ylabel("square difference over\nsquare of clean features")
        axes.set_ylim(bottom=0)
        axes.set_title(f"{result['attack']}, n = {result['n']}, 95% bands", size=10)
        axes.legend(frameon=False, fontsize=8)
        return [save(figure, folder / f"{name}.png")]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return a row per model and layer."""
        layout = Table(
            title=f"features under {result['attack']}, n = {result['n']}, [95% interval]", title_justify="left"
        )
        for heading in ("model", "layer", "relative difference", "mean square difference"):
            layout.add_column(heading, overflow="fold")
        for row in result["models"]:
            for layer in row["layers"]:
                shown = [
                    f"{layer[kind]['mean']:.4g} [{layer[kind]['ci95'][0]:.4g}, {layer[kind]['ci95'][1]:.4g}]"
                    for kind in ("relative", "square")
                ]
                layout.add_row(row["label"], layer["name"], *shown)
        return layout


def _row(context: Context, model: Scored) -> dict[str, Any]:
    """Return what one model's features do; nothing is kept but two numbers of each clip and layer."""
    column = Column(context.attack_name, context.attack.adjusted(early_exit=False, keep="last"))
    found: dict[str, list[Tensor]] = {}
    for batch in context.batches():
        clips, labels = batch.inputs, batch.target
        made, _ = craft(column, model.model, clips, labels, batch.ids, context.seed, context.task)
        clean, attacked = features(model.model, clips), features(model.model, made.x_adv)
        for name, one in clean.items():
            moved = (attacked[name] - one).square()
            pair = torch.stack([moved.sum(dim=1) / one.square().sum(dim=1).clamp_min(1e-30), moved.mean(dim=1)])
            found.setdefault(name, []).append(pair.cpu())
    layers = []
    for name, pairs in found.items():
        relative, square = torch.cat(pairs, dim=1).double().numpy().astype(np.float64)
        layers.append(
            {"name": name, "relative": mean_of(relative), "square": mean_of(square), "clips": relative.tolist()}
        )
    return {**model.origin, "layers": layers}


def features(model: nn.Module, clips: Tensor) -> dict[str, Tensor]:
    """Return what each layer of a model puts out for clips, by its name, in the order of their calls.

    Shape:
        clips ``[B, 3, T, H, W]`` to ``[B, F]`` of each layer; of one that is called for several views, all of them.
    """
    seen: dict[str, list[Tensor]] = {}
    with _listening(layers_of(model), seen), torch.no_grad():
        model(clips)
    return {name: torch.cat([out.reshape(len(clips), -1) for out in outs], dim=1) for name, outs in seen.items()}


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return the parts with weights of the first module that has several, purifiers and wrappers left aside.

    Example:
        >>> list(layers_of(nn.Sequential(nn.Sequential(nn.Conv3d(3, 4, 3), nn.ReLU(), nn.Linear(4, 2)))))
        ['0', '2']
    """
    while True:
        if isinstance(model, PurifiedModel):
            model = model.model
        parts = {name: part for name, part in model.named_children() if any(True for _ in part.parameters())}
        if len(parts) != 1:
            return parts or {"network": model}
        (model,) = parts.values()


@contextmanager
def _listening(layers: Mapping[str, nn.Module], seen: dict[str, list[Tensor]]) -> Iterator[None]:
    """Note the tensors that layers put out, for as long as a block."""

    def listener(name: str) -> Any:
        def hear(_: nn.Module, __: Any, out: Any) -> None:
            if isinstance(out, Tensor):
                seen.setdefault(name, []).append(out.detach().float().clone())  # what follows may write into it

        return hear

    handles = [layer.register_forward_hook(listener(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

"""Where in time models look: the energy of the gradient of their answer by frame, and maps of it over the frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor

from advvid.analyses.base import Analysis, Context
from advvid.analyses.figures import COLOURS, DPI, MARKERS, plot, save
from advvid.analyses.means import mean_difference, mean_of
from advvid.analyses.scored import Checkpoints, named_paths, scored_models
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Whole

# Frames of a clip that are shown, spread over it.
MOST_FRAMES = 8


@dataclass(frozen=True, kw_only=True)
class Saliency(Analysis):
    """Gradient of the predicted output by frame, of one or several models (Mu et al., appendix D, figure D.10).

    ``evenness`` of a clip is the entropy of its frames' shares of the squared gradient over that of equal shares: 1 where
    all frames matter alike, 0 where one alone does. The authors find saliency spread over more frames after training with
    attacked clips.

    Args:
        checkpoints: further runs or ``.pt`` files, each a row of its own.
        labels: names of the models, the run's own first; made from defenses or folders where empty.
        of: what the gradient is of: ``output``, the logit of the class that the model predicts, as in the paper, or
            ``loss``, that of the label.
        pictures: clips whose maps are drawn over their frames.

    Example:
        >>> Saliency(pictures=1).pictures
        1
    """

    checkpoints: Checkpoints = ()
    labels: Sequence[str] = ()
    of: Literal["output", "loss"] = "output"
    pictures: Whole = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "checkpoints", named_paths(self.checkpoints))

    def run(self, context: Context) -> dict[str, Any]:
        """Take the gradient of every clip under every model.

        Raises:
            AdvvidError: for inputs that are no clips of pixels, or models of other classes.
        """
        if len(context.clip_shape) != 4:
            raise AdvvidError(f"analysis={context.name} needs clips of frames: choose the run of a video classifier")
        rows: list[dict[str, Any]] = []
        shown: dict[str, Any] = {}
        for model in scored_models(context, self.checkpoints, self.labels):
            shares, maps = list[NDArray[np.float64]](), list[Any]()
            for batch in context.batches():
                gradient = self._gradient(model.model, batch.inputs, batch.target, context)
                shares.append(frame_shares(gradient).cpu().numpy())
                for index in range(min(len(batch), self.pictures - len(maps))):
                    place = np.unique(np.linspace(0, gradient.shape[2] - 1, MOST_FRAMES).round().astype(int)).tolist()
                    maps.append(gradient[index, :, place].abs().sum(dim=0).cpu().numpy().round(6).tolist())
                    shown.setdefault(
                        batch.ids[index], batch.inputs[index, :, place].mean(dim=0).cpu().numpy().round(3).tolist()
                    )
            share = np.concatenate(shares)
            even = evenness(share)
            rows.append(
                {
                    **model.origin,
                    "share": share.mean(axis=0).tolist(),
                    "evenness": mean_of(even),
                    "clips": even.tolist(),
                    "maps": maps,
                }
            )
        for row in rows[1:]:
            row["difference"] = mean_difference(row["clips"], rows[0]["clips"])
        return {"n": len(context.split), "of": self.of, "models": rows, "frames": shown}

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw the shares of the frames, and the maps of the first clips."""
        figure, axes = plot(6.0, 3.6)
        for i, row in enumerate(result["models"]):
            shares = [100 * share for share in row["share"]]
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            axes.plot(range(len(shares)), shares, label=row["label"], color=colour, marker=marker, markersize=4)
        axes.set_xlabel("frame")
        axes.set_ylabel("share of the gradient's energy, %")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8)
        paths = [save(figure, folder / f"{name}.png")]
        for number, clip in enumerate(result["frames"]):
            paths.append(save(_overlay(result, number, clip), folder / f"{name}_{number}.png"))
        return paths

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return a row per model."""
        layout = Table(title=f"saliency over frames, n = {result['n']}, [95% interval]", title_justify="left")
        for heading in ("model", "evenness", "largest share of a frame %"):
            layout.add_column(heading, overflow="fold")
        notes = []
        for row in result["models"]:
            low, high = row["evenness"]["ci95"]
            layout.add_row(
                row["label"], f"{row['evenness']['mean']:.3f} [{low:.3f}, {high:.3f}]", f"{100 * max(row['share']):.1f}"
            )
            if "difference" in row:
                low, high = row["difference"]["ci95"]
                notes.append(
                    f"{row['label']} less {result['models'][0]['label']}: {row['difference']['mean']:+.3f} [{low:+.3f}, "
                    f"{high:+.3f}] on the same clips"
                )
        return Group(layout, *(Text(note) for note in notes))

    def _gradient(self, model: torch.nn.Module, clips: Tensor, labels: Tensor, context: Context) -> Tensor:
        """Return the gradient with respect to the clips, ``[B, 3, T, H, W]``."""
        with torch.enable_grad():
            inputs = clips.detach().requires_grad_()
            out = model(inputs)
            if self.of == "output" and context.task.correct(out, labels) is None:
                raise AdvvidError(f"analysis={context.name} of the predicted class needs classes: set analysis.of=loss")
            looked_at = out.float().amax(dim=1) if self.of == "output" else context.task.loss(out, labels)
            (gradient,) = torch.autograd.grad(looked_at.sum(), inputs)
        return gradient.float()


def frame_shares(gradient: Tensor) -> Tensor:
    """Return each frame's share of the squared gradient; equal shares where all of it is zero.

    Shape:
        gradient ``[B, 3, T, H, W]``; result ``[B, T]``, rows sum to 1.
    """
    energy = gradient.double().square().sum(dim=(1, 3, 4))
    whole = energy.sum(dim=1, keepdim=True)
    return torch.where(whole > 0, energy / whole.clamp_min(1e-300), 1 / energy.shape[1])


def evenness(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropy of each row over that of equal shares, in [0, 1]; 1 for clips of a single frame.

    Example:
        >>> evenness(np.array([[0.5, 0.5], [1.0, 0.0]])).tolist()
        [1.0, 0.0]
    """
    if shares.shape[1] == 1:
        return np.ones(len(shares))
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.abs((shares * logs).sum(axis=1)) / math.log(shares.shape[1])


def _overlay(result: Mapping[str, Any], number: int, clip: str) -> Figure:
    """Draw a clip's frames in grey with strong gradients in yellow, a row per model."""
    frames = np.array(result["frames"][clip])
    rows = result["models"]
    figure = Figure(figsize=(1.2 * len(frames), 0.4 + 1.35 * len(rows)), dpi=DPI, layout="constrained")
    grid = figure.subplots(len(rows), len(frames), squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        maps = np.array(row["maps"][number])
        strong = np.clip(maps / max(np.quantile(maps, 0.99), 1e-12), 0, 1)
        for place, axes in enumerate(line):
            grey = np.repeat(0.6 * frames[place][..., None], 3, axis=2)
            yellow = np.array([1.0, 0.85, 0.0])
            axes.imshow(grey + strong[place][..., None] * (yellow - grey), vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
        line[0].set_ylabel(row["label"], size=8)
    figure.suptitle(f"clip {clip}: yellow where the gradient of the {result['of']} is large", size=9)
    return figure

"""Pictures of attention maps: clean, adversarial and their difference, and how much each place is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from advvid.analyses.figures import COLOURS, DPI, save
from advvid.models.attention import Maps

# Layers of a clip that are shown, spread over the network, and the most rows and columns of a map.
MOST_LAYERS, MOST_PLACES = 4, 64


def shown_maps(maps: Maps, maps_adv: Maps, index: int) -> list[dict[str, Any]]:
    """Return what is drawn of one clip as plain values: a few layers, each at the window that the attack moves most.

    Padding is cut off; a map of more than 64 places is averaged over neighbours.

    Args:
        maps: of clean clips.
        maps_adv: of their counterparts.
        index: of the clip in the batch.
    """
    names = list(maps)
    places = np.unique(np.linspace(0, len(names) - 1, min(MOST_LAYERS, len(names))).round().astype(int))
    shown = []
    for place in places:
        clean, attacked = maps[names[place]][index].cpu(), maps_adv[names[place]][index].cpu()
        window = int((clean - attacked).square().sum(dim=(1, 2)).argmax())
        rows, columns = clean[window].sum(dim=1) > 0, clean[window].amax(dim=0) > 0
        pair = [part[window][rows][:, columns] for part in (clean, attacked)]
        shown.append(
            {
                "layer": names[place],
                "window": window,
                "windows": len(clean),
                "size": list(pair[0].shape),
                "clean": _plain(_smaller(pair[0])),
                "adversarial": _plain(_smaller(pair[1])),
                "profile": _plain(_smaller(pair[0].mean(dim=0, keepdim=True))[0]),
                "profile_adversarial": _plain(_smaller(pair[1].mean(dim=0, keepdim=True))[0]),
            }
        )
    return shown


def map_figure(picture: Mapping[str, Any], title: str, path: Path) -> Path:
    """Draw a clip's maps, a row for each layer; the last column is the attention that each place gets on average.

    Args:
        picture: ``id`` of the clip and its ``layers`` as ``shown_maps`` gave them.
        title: above the figure.
        path: the PNG file; an SVG goes beside it.
    """
    layers = picture["layers"]
    tall = 0.9 + 2.8 * len(layers)  # inches
    figure = Figure(figsize=(12.5, tall), dpi=DPI, facecolor="white")
    figure.text(0.5, 1 - 0.25 / tall, f"{title}, clip {picture['id']}", size=11, ha="center", va="center")
    place = {"left": 0.06, "right": 0.985, "top": 1 - 0.7 / tall, "bottom": 0.5 / tall, "hspace": 0.4, "wspace": 0.3}
    axes = figure.subplots(len(layers), 4, squeeze=False, width_ratios=[1, 1.15, 1.15, 1.2], gridspec_kw=place)
    for row, layer in zip(axes, layers, strict=True):
        clean, attacked = np.array(layer["clean"]), np.array(layer["adversarial"])
        change = attacked - clean
        top, most = float(max(clean.max(), attacked.max())), float(np.abs(change).max()) or 1e-12
        for place, words, weights in ((row[0], "clean", clean), (row[1], "adversarial", attacked)):
            image = place.imshow(weights, cmap="viridis", vmin=0, vmax=top, aspect="auto", interpolation="nearest")
            place.set_title(words, size=9)
        figure.colorbar(image, ax=row[1]).ax.tick_params(labelsize=7)
        image = row[2].imshow(change, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
        row[2].set_title("adversarial less clean", size=9)
        figure.colorbar(image, ax=row[2]).ax.tick_params(labelsize=7)
        window = f", window {layer['window'] + 1} of {layer['windows']}" if layer["windows"] > 1 else ""
        row[0].set_ylabel(f"{layer['layer']}{window}\nlooking place", size=8)
        for place in row[:3]:
            place.set_xlabel("place looked at", size=8)
            place.tick_params(labelsize=7)
        row[3].plot(layer["profile"], color=COLOURS[0], label="clean")
        row[3].plot(layer["profile_adversarial"], color=COLOURS[1], linestyle="--", label="adversarial")
        row[3].set_title("mean attention", size=9)
        row[3].set_ylim(bottom=0)
        row[3].tick_params(labelsize=7)
        row[3].legend(frameon=False, fontsize=7)
    return save(figure, path)


def _smaller(weights: Tensor) -> Tensor:
    """Return a map ``[Q, K]`` of at most 64 by 64 places."""
    size = min(MOST_PLACES, weights.shape[0]), min(MOST_PLACES, weights.shape[1])
    return weights if size == weights.shape else F.adaptive_avg_pool2d(weights[None], size)[0]


def _plain(weights: Tensor) -> Any:
    """Return numbers of six digits, which is what a picture can show."""
    rounded: Any = np.vectorize(lambda value: float(f"{value:.6g}"))(weights.to(torch.float64).numpy())
    return rounded.tolist()

"""ROC curves and histograms of a detector's index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from advvid.analyses.figures import COLOURS, DASHES, QUIET, plot, save

HATCHES = ("", "//", "..")


def roc_figure(result: Mapping[str, Any], path: Path) -> Path:
    """Draw both questions' ROC curves (Jia et al., fig. 4); return ``path``."""
    figure, axes = plot(4.6, 4.4)
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle=":")
    questions = (("gamma_1", "clean or attacked"), ("gamma_2", "sparse or dense"))
    for (name, question), colour, dash in zip(questions, COLOURS, DASHES, strict=False):
        curve = result[name]["roc"]
        if curve["auc"] is not None:
            label = f"{question}: AUC {curve['auc']:.3f}"
            axes.plot(curve["fpr"], curve["tpr"], color=colour, linestyle=dash, marker=".", label=label)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    axes.set_title(f"{result['detector']} on test clips", size=10)
    axes.set_aspect("equal")
    axes.legend(loc="lower right", fontsize=8)
    return save(figure, path)


def histogram(result: Mapping[str, Any], path: Path) -> Path:
    """Draw the share of clips at each exception index, by kind (Jia et al., fig. 2); return ``path``."""
    figure, axes = plot(6.4, 3.6)
    kinds = {kind: np.asarray(values, dtype=float) for kind, values in result["index"].items() if len(values)}
    steps = np.unique(np.round(np.concatenate([*kinds.values(), [0.0]]), 6))
    width = 0.8 * (np.diff(steps).min() if len(steps) > 1 else 0.1) / max(1, len(kinds))
    for number, (kind, values) in enumerate(kinds.items()):
        share = [100 * float(np.isclose(values, step).mean()) for step in steps]
        place = steps + (number - (len(kinds) - 1) / 2) * width
        axes.bar(
            place,
            share,
            width,
            color=COLOURS[number],
            hatch=HATCHES[number % 3],
            edgecolor="white",
            label=f"{kind}, n = {len(values)}",
        )
    for name, dash in (("gamma_1", "--"), ("gamma_2", "-.")):
        axes.axvline(
            result[name]["chosen"],
            color=QUIET,
            linestyle=dash,
            linewidth=1,
            label=f"{name} = {result[name]['chosen']:g}",
        )
    axes.set_xlabel(result["axis"])
    axes.set_ylabel("percent of clips")
    axes.legend(fontsize=8)
    return save(figure, path)

"""How well a threshold on a score tells two kinds of clips apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score, roc_curve

from advvid.core.errors import AdvvidError


@dataclass(frozen=True)
class Choice:
    """A threshold and what it achieves on the clips that it was tried on; fractions."""

    threshold: float
    precision: float
    recall: float
    f1: float


def judge(scores: ArrayLike, positive: ArrayLike, threshold: float) -> Choice:
    """Return precision, recall and F1 of calling every score of at least ``threshold`` positive.

    Shape:
        scores: ``[n]``; positive: ``bool [n]``.

    Example:
        >>> judge([0.1, 0.4], [False, True], 0.3).f1
        1.0
    """
    called = np.asarray(scores, dtype=float) >= threshold
    precision, recall, f1, _ = precision_recall_fscore_support(
        np.asarray(positive, dtype=bool), called, average="binary", pos_label=True, zero_division=0.0
    )
    return Choice(float(threshold), float(precision), float(recall), float(f1))


def choose(scores: ArrayLike, positive: ArrayLike, thresholds: Sequence[float]) -> tuple[Choice, list[Choice]]:
    """Return the threshold with the best F1 (the lowest of equals), and all that were tried (Jia et al., tables 1 and 2)."""
    if not thresholds:
        raise AdvvidError("there is no threshold to choose from: give at least one")
    tried = [judge(scores, positive, threshold) for threshold in sorted(thresholds)]
    return max(tried, key=lambda choice: choice.f1), tried


def roc(scores: ArrayLike, positive: ArrayLike) -> dict[str, Any]:
    """Return the ROC curve (``fpr``, ``tpr``, ``thresholds``) and its area ``auc``; None for the area of a single kind."""
    truth = np.asarray(positive, dtype=bool)
    if truth.all() or not truth.any():
        return {"fpr": [], "tpr": [], "thresholds": [], "auc": None}
    fpr, tpr, thresholds = roc_curve(truth, np.asarray(scores, dtype=float), drop_intermediate=False)
    finite = [float(t) if np.isfinite(t) else None for t in thresholds]
    auc = float(roc_auc_score(truth, np.asarray(scores, dtype=float)))
    return {"fpr": fpr.tolist(), "tpr": tpr.tolist(), "thresholds": finite, "auc": auc}

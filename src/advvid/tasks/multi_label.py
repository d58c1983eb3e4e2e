"""Multi-label classification: the task of YouTube-8M, where a video may have several right answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from advvid.core.allowed import check_fields
from advvid.core.kinds import Count

# Predictions of each video that GAP looks at.
TOP = 20


@dataclass(frozen=True)
class MultiLabel:
    """Several labels per clip, binary cross-entropy, Hit@1 as what counts as right (Choudhary et al., sec. 3.1).

    Args:
        partitions: ``metrics`` also gives mean and standard deviation over this many parts of the split without common
            clips (the paper's tables: five); clip i is in part ``i mod partitions``. 1 for none.

    Shape:
        out: logits ``[B, K]``; target: bool ``[B, K]``, true at every label of a clip.

    Example:
        >>> MultiLabel().correct(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[True, False, True]]))
        tensor([True])
    """

    output: ClassVar[str] = "logits"

    partitions: Count = 5

    def __post_init__(self) -> None:
        check_fields(self)

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        """Return the binary cross-entropy of each clip, summed over the classes, ``[B]`` in float32.

        The paper leaves open whether it is the sum or the mean; the sum is what YouTube-8M's own baselines train with.
        An attack's steps are the same under both where it scales gradients.
        """
        return F.binary_cross_entropy_with_logits(out.float(), target.float(), reduction="none").sum(dim=1)

    def correct(self, out: Tensor, target: Tensor) -> Tensor:
        """Tell which clips have a label as their top class (Hit@1); NaN logits are wrong."""
        top = target.gather(1, out.argmax(dim=1, keepdim=True)).squeeze(1)
        return top.bool() & ~out.isnan().any(dim=1)

    def predict(self, out: Tensor) -> Tensor:
        """Return the class with the largest logit, int64 ``[B]``."""
        return out.argmax(dim=1)

    def label(self, target: Tensor) -> list[list[int]]:
        """Return the class numbers of each clip."""
        return [row.nonzero().flatten().tolist() for row in target]

    def margin(self, out: Tensor, target: Tensor) -> Tensor:
        """Return the largest logit of a label minus the largest one of another class, ``[B]``."""
        labels = target.bool()
        own = out.masked_fill(~labels, -torch.inf).amax(dim=1)
        return own - out.masked_fill(labels, -torch.inf).amax(dim=1)

    def metrics(self, outs: Tensor, targets: Tensor) -> dict[str, Any]:
        """Return GAP, PERR and Hit@1 over the split, fractions, with mean and standard deviation over the partitions.

        The deviation is that of a sample (divisor one less than the number of partitions).
        """
        if not len(outs):
            return {}
        measures = {"gap": gap, "perr": perr, "hit1": hit_at_one}
        found = {name: measure(outs, targets) for name, measure in measures.items()}
        if self.partitions > 1 and len(outs) >= self.partitions:
            for name, measure in measures.items():
                parts = [
                    measure(outs[i :: self.partitions], targets[i :: self.partitions]) for i in range(self.partitions)
                ]
                mean = math.fsum(parts) / len(parts)
                found[f"{name}_mean"] = mean
                found[f"{name}_std"] = math.sqrt(math.fsum((x - mean) ** 2 for x in parts) / (len(parts) - 1))
        return found


def gap(outs: Tensor, targets: Tensor, top: int = TOP) -> float:
    """Return the global average precision (Lee et al. 2018, second YouTube-8M challenge).

    The ``top`` most likely classes of every video go into one list, sorted by confidence. The average precision of that
    list is the sum over its right entries of the precision up to there, divided by the number of all labels, so that
    labels outside the videos' top classes count as missed. Equal confidences stand in the order of the videos.

    Shape:
        outs: logits or probabilities ``[n, K]``; targets: bool ``[n, K]``.

    Example:
        >>> gap(torch.tensor([[0.9, 0.1], [0.2, 0.6]]), torch.tensor([[True, False], [True, False]]))
        0.8333333333333333
    """
    labels = int(targets.sum())
    if not labels:
        return 0.0
    best = outs.double().topk(min(top, outs.shape[1]), dim=1)
    right = targets.bool().gather(1, best.indices).flatten()
    right = right[best.values.flatten().argsort(descending=True, stable=True)].double()
    precision = right.cumsum(0) / torch.arange(1, len(right) + 1, dtype=torch.float64, device=right.device)
    return float((precision * right).sum()) / labels


def perr(outs: Tensor, targets: Tensor) -> float:
    """Return the precision at equal recall rate (Abu-El-Haija et al. 2016, YouTube-8M).

    For a video with m labels, the share of labels among its m most likely classes; the mean over videos with labels.

    Shape:
        outs: ``[n, K]``; targets: bool ``[n, K]``.
    """
    counts = targets.sum(dim=1)
    ranked = targets.bool().gather(1, outs.argsort(dim=1, descending=True, stable=True))
    within = torch.arange(outs.shape[1], device=outs.device) < counts[:, None]
    kept = counts > 0
    share = (ranked & within).sum(dim=1)[kept].double() / counts[kept]
    return float(share.mean()) if len(share) else 0.0


def hit_at_one(outs: Tensor, targets: Tensor) -> float:
    """Return the share of videos whose most likely class is one of their labels (Abu-El-Haija et al. 2016)."""
    return float(targets.bool().gather(1, outs.argmax(dim=1, keepdim=True)).double().mean())

"""Single-label classification: the task of every video classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Classification:
    """One label per clip, cross-entropy loss, top-1 accuracy.

    Example:
        >>> Classification().correct(torch.tensor([[2.0, 1.0]]), torch.tensor([0]))
        tensor([True])
    """

    output: ClassVar[str] = "logits"

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy of each clip.

        Shape:
            out: logits ``[B, K]``; target: int64 ``[B]``; result: ``[B]``, in float32 whatever the logits' type.
        """
        return F.cross_entropy(out.float(), target, reduction="none")

    def correct(self, out: Tensor, target: Tensor) -> Tensor:
        """Tell which clips have their largest logit at the label; NaN logits are wrong."""
        return (out.argmax(dim=1) == target) & ~out.isnan().any(dim=1)

    def predict(self, out: Tensor) -> Tensor:
        """Return the class with the largest logit, int64 ``[B]``."""
        return out.argmax(dim=1)

    def label(self, target: Tensor) -> list[int]:
        """Return the class numbers."""
        return [int(label) for label in target.tolist()]

    def margin(self, out: Tensor, target: Tensor) -> Tensor:
        """Return the label's logit minus the largest other one, ``[B]``."""
        own = out.gather(1, target[:, None]).squeeze(1)
        rest = out.scatter(1, target[:, None], -torch.inf).amax(dim=1)
        return own - rest

    def metrics(self, outs: Tensor, targets: Tensor) -> dict[str, Any]:
        """Return top-5 accuracy where there are more than five classes (accuracy itself stands beside)."""
        if outs.shape[1] <= 5 or not len(outs):
            return {}
        top5 = (outs.topk(5, dim=1).indices == targets[:, None]).any(dim=1)
        return {"top5": top5.float().mean().item()}

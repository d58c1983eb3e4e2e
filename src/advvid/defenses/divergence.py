"""How far the answers for two clips lie apart: a loss, and a task whose inner attack raises it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


def divergence(clean: Tensor, adversarial: Tensor) -> Tensor:
    """Return ``KL(p_clean || p_adversarial)`` of each clip; gradients flow through both.

    Shape:
        logits ``[B, K]``; result ``[B]``, in float32 whatever the logits' type.

    Example:
        >>> divergence(torch.zeros(1, 2), torch.zeros(1, 2))
        tensor([0.])
    """
    p, q = clean.float().log_softmax(dim=1), adversarial.float().log_softmax(dim=1)
    return (p.exp() * (p - q)).sum(dim=1)


@dataclass(frozen=True)
class Divergence:
    """The task that the inner attack of TRADES sees: its labels are the logits of the clean clip.

    Shape:
        out, target: logits ``[B, K]``.
    """

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        """Return the divergence of each clip, ``[B]``."""
        return divergence(target, out)

    def correct(self, out: Tensor, target: Tensor) -> Tensor | None:
        """Return None: the search is for distance, there is no verdict on the way."""
        return None

    def predict(self, out: Tensor) -> Tensor:
        """Return the class with the largest logit, int64 ``[B]``."""
        return out.argmax(dim=1)

    def label(self, target: Tensor) -> list[Any]:
        """Return that no clip has a true answer here."""
        return [None] * len(target)

    def margin(self, out: Tensor, target: Tensor) -> Tensor | None:
        """Return None, as there is no verdict."""
        return None

    def metrics(self, outs: Tensor, targets: Tensor) -> dict[str, Any]:
        """Return nothing further."""
        return {}

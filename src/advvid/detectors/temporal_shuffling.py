"""Adversarial clips told by answers that change with the order of the frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from advvid.core.kinds import Count, Share
from advvid.detectors.routing import Routing


@dataclass(frozen=True, kw_only=True)
class TemporalShuffling(Routing):
    """A detector on the observation of Hwang et al. 2021: networks are robust to frames in random order, perturbations not.

    Its index is the share of ``orders`` in which the network's answer is not that of the frames as they come. Hwang et al.
    ("Temporal shuffling for defending deep action recognition models against adversarial attacks") build a defense on it; the
    index and its thresholds are of this project. The orders are drawn once, from a fixed seed, so that a clip's verdict is
    the same each time and an adaptive attack knows them. With ``gamma_1 = gamma_2``, as here, all attacked clips go one way,
    through ``dense``. A network that lives by the order of frames calls clean clips attacked: look at clean accuracy.

    Args:
        orders: how many orders are tried; each costs a forward pass.
        gamma_1: from this index on a clip counts as attacked.
        gamma_2: from this index on it passes ``dense``, below ``sparse``.

    Other arguments: see ``Routing``.

    Example:
        >>> TemporalShuffling(orders=4).verdict(torch.tensor([0.25, 0.75])).tolist()
        [0, 2]
    """

    title: ClassVar[str] = "Temporal shuffling"
    axis: ClassVar[str] = "share of orders with another answer"

    gamma_1: Share = 0.5
    gamma_2: Share = 0.5
    orders: Count = 8

    @property
    def rule(self) -> str:
        """The thresholds and the number of orders, by which results are kept apart."""
        return f"{super().rule}, orders={self.orders}"

    def reading(self, model: nn.Module) -> str:
        """Say in words what of a network is compared."""
        return f"{self.orders} orders of the frames"

    def outputs(self, model: nn.Module, clips: Tensor) -> Tensor:
        """Return the logits of the frames as they come and in every order, ``[B, 1 + orders, K]``."""
        length, source = clips.shape[2], torch.Generator().manual_seed(0)
        orders = [torch.arange(length), *(torch.randperm(length, generator=source) for _ in range(self.orders))]
        return torch.stack([model(clips[:, :, order]) for order in torch.stack(orders).to(clips.device)], dim=1)

    def index_of(self, outputs: Tensor) -> Tensor:
        """Return the share of orders in which the answer is another one, float64 ``[B]``."""
        answers = outputs.argmax(dim=2)
        return (answers[:, 1:] != answers[:, :1]).double().mean(dim=1)

    def smooth(self, outputs: Tensor) -> Tensor:
        """Return how far the answers differ on average: 1 minus the inner product of class probabilities, ``[B]``."""
        sure = outputs.float().softmax(dim=2)
        return 1 - (sure[:, 1:] * sure[:, :1]).sum(dim=2).mean(dim=1)

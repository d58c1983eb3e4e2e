"""Attacks that learn from a set of clips first, and what they become."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.batch import Batch
from advvid.tasks.base import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedAttack(Attack):
    """An attack after its learning: it holds what it learned, which ``state_dict`` saves and restores.

    Args:
        source: the attack that was fitted, whose settings these are.
    """

    source: Attack

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return what was learned."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what another one learned."""


@runtime_checkable
class Learner(Protocol):
    """An attack that learns from clips; where it is run without, it learns on each clip by itself."""

    def fit(
        self, model: nn.Module, loader: Iterable[Batch], generator: torch.Generator, task: Task | None = None
    ) -> FittedAttack:
        """Learn from the clips of ``loader``, which may be walked more than once."""

    def unfitted(self) -> FittedAttack:
        """Return the fitted form without what is learned, for ``load_state_dict``."""

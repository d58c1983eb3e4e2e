"""Attacks that learn from a set of clips first, and what they become."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
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


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedPattern(FittedAttack):
    """A fitted attack that learned one tensor, ``pattern``, which its subclass adds to each clip."""

    # How the attack is called in messages, and the pattern's dimensions.
    called: ClassVar[str]
    dimensions: ClassVar[tuple[str, ...]]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the pattern.

        Raises:
            AdvvidError: if there is none yet.
        """
        pattern = getattr(self, "_pattern", None)
        if pattern is None:
            raise AdvvidError(f"this {self.called} has no pattern: fit it, or load one with load_state_dict")
        return {"pattern": pattern}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a pattern.

        Raises:
            AdvvidError: if the state holds something else.
        """
        if set(state) != {"pattern"} or state["pattern"].dim() != len(self.dimensions):
            form = " x ".join(self.dimensions)
            raise AdvvidError(f"a {self.called} state holds one pattern of {form}: give its state_dict()")
        self._set("_pattern", state["pattern"].detach().clone())


@runtime_checkable
class Learner(Protocol):
    """An attack that learns from clips; where it is run without, it learns on each clip by itself."""

    def fit(
        self, model: nn.Module, loader: Iterable[Batch], generator: torch.Generator, task: Task | None = None
    ) -> FittedAttack:
        """Learn from the clips of ``loader``, which may be walked more than once."""

    def unfitted(self) -> FittedAttack:
        """Return the fitted form without what is learned, for ``load_state_dict``."""

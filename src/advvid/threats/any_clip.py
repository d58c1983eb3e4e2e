"""The set of all clips: no bound on the change, only on the range of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from advvid.core.batch import Space
from advvid.threats.base import Aux, draw


@dataclass(frozen=True)
class AnyClip:
    """Every clip of valid pixels, under a name for what is done to it: corruptions have no norm that bounds them.

    Two of these are the same set only where their words are, so that no attack is held against a corruption.

    Args:
        words: what is done, such as ``gaussian noise, severity 3 of 5``.
        space: range of valid pixels.

    Example:
        >>> AnyClip("gaussian noise, severity 3 of 5").budget
        'corruption: gaussian noise, severity 3 of 5'
    """

    words: str
    space: Space = field(default_factory=Space)

    @property
    def budget(self) -> str:
        """The set in words."""
        return f"corruption: {self.words}"

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Draw nothing: the set leaves no choice."""
        return {}

    def random_start(self, x: Tensor, generators: Sequence[torch.Generator], aux: Aux | None = None) -> Tensor:
        """Return clips whose values are uniform in the range."""
        return self.space.low + self.space.width * draw("rand", x.shape[1:], generators, x)

    def ascend(self, x_adv: Tensor, grad: Tensor, step_size: float, aux: Aux | None = None) -> Tensor:
        """Step by ``step_size`` along the sign of the gradient."""
        return x_adv + step_size * grad.sign()

    def project(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Clamp every value to the range."""
        return self.space.clamp(x_adv, x)

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips keep the range."""
        return self.space.contains(x_adv, x)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return the root of the mean squared change of a value in each clip."""
        return (x_adv - x).flatten(1).square().mean(dim=1).sqrt()

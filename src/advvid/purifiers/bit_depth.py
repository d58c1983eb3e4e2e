"""Bit-depth reduction."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor, nn

from advvid.purifiers.base import Generators, Purifier


class BitDepth(Purifier):
    """Round every value to one of ``2 ** bits`` equally spaced levels (Lo & Patel, halftone table).

    Args:
        bits: per channel.
        surrogate: see ``Purifier``.

    Shape:
        clips ``[B, 3, T, H, W]``.

    Example:
        >>> BitDepth(bits=1)(torch.tensor([0.2, 0.7]).expand(1, 3, 1, 1, 2))[0, 0]
        tensor([[[0., 1.]]])
    """

    differentiable = False

    def __init__(self, bits: Annotated[int, Ge(1), Le(16)] = 4, surrogate: nn.Module | None = None) -> None:
        super().__init__(surrogate)
        self.bits = bits

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return rounded clips."""
        steps = 2**self.bits - 1
        return (clips * steps).round() / steps

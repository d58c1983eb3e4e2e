"""Noise injection."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from advvid.core.kinds import ShareNumber
from advvid.purifiers.base import Generators, Purifier, per_clip


class NoiseInjection(Purifier):
    """Add noise to every value, drawn anew each time (Lo & Patel's list, after Raff et al. 2019).

    Random: an attack averages over draws (EOT).

    Args:
        std: standard deviation of the noise.
        kind: ``gaussian``; ``uniform``; ``speckle``, which is Gaussian and in proportion to the value.

    Shape:
        clips ``[B, 3, T, H, W]``.
    """

    random = True

    def __init__(
        self, std: ShareNumber = "8/255", kind: Literal["gaussian", "uniform", "speckle"] = "gaussian"
    ) -> None:
        super().__init__()
        self.std = float(std)
        self.kind = kind

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return noisy clips."""
        shape = clips.shape[1:]

        def draw(generator: torch.Generator | None) -> Tensor:
            if self.kind == "uniform":
                # An interval of width 1 has a variance of 1/12.
                return (torch.rand(shape, generator=generator) - 0.5) * 12**0.5
            return torch.randn(shape, generator=generator)

        noise = self.std * per_clip(clips, generators, draw)
        return clips + (clips * noise if self.kind == "speckle" else noise)

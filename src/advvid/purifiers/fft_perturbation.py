"""Perturbation of every frame's Fourier coefficients."""

from __future__ import annotations

import torch
from torch import Tensor

from advvid.core.kinds import ShareNumber
from advvid.purifiers.base import Generators, Purifier, per_clip


class FFTPerturbation(Purifier):
    """Scale every Fourier coefficient of each frame at random, and drop some (Lo & Patel's list, after Raff et al. 2019).

    Random: an attack averages over draws (EOT). A frame's mean stays as it is.

    Args:
        spread: a coefficient is multiplied by a number drawn evenly from ``1 - spread`` to ``1 + spread``.
        drop: probability that it is set to zero instead.

    Shape:
        clips ``[B, 3, T, H, W]``; each channel by itself.
    """

    random = True

    def __init__(self, spread: ShareNumber = 0.1, drop: ShareNumber = 0.1) -> None:
        super().__init__()
        self.spread = float(spread)
        self.drop = float(drop)

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return the clips with perturbed spectra."""
        spectrum = torch.fft.rfft2(clips)
        shape = spectrum.shape[1:]

        def draw(generator: torch.Generator | None) -> Tensor:
            factors = 1 + self.spread * (2 * torch.rand(shape, generator=generator) - 1)
            kept = torch.rand(shape, generator=generator) >= self.drop
            factors = factors * kept
            factors[..., 0, 0] = 1
            return factors

        factors = per_clip(clips, generators, draw).to(clips.dtype)
        return torch.fft.irfft2(spectrum * factors, s=clips.shape[-2:])

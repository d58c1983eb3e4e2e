"""Noise of sensors and of transmission."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from advvid.attacks.corruption import Corruption

# By severity, those of Schiappa et al. 2022 (their public code); gaussian and impulse are ImageNet-C's.
LEVELS = {
    "gaussian": (0.08, 0.12, 0.18, 0.26, 0.38),  # standard deviation
    "shot": (250, 100, 50, 30, 15),  # photons at full brightness
    "impulse": (0.03, 0.06, 0.09, 0.17, 0.27),  # share of values
    "speckle": (0.15, 0.2, 0.25, 0.3, 0.35),  # standard deviation, times the value
}


@dataclass(frozen=True, kw_only=True)
class NoiseCorruption(Corruption):
    """Noise drawn anew for each value of each frame (Schiappa et al. 2022, noise).

    ``gaussian``: ``x + s n``. ``shot``: ``Poisson(s x) / s``. ``impulse``: a share s of values becomes 0 or 1.
    ``speckle``: ``x + x s n``; n is standard normal.

    Args:
        kind: of noise.
        severity: see ``Corruption``.

    Example:
        >>> NoiseCorruption(kind="shot", severity=2).threat.budget
        'corruption: shot noise, severity 2 of 5'
    """

    kind: Literal["gaussian", "shot", "impulse", "speckle"] = "gaussian"

    @property
    def words(self) -> str:
        """The kind of corruption in words."""
        return f"{self.kind} noise"

    def corrupt(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        """Return one noisy clip."""
        level = LEVELS[self.kind][self.severity - 1]
        if self.kind == "shot":
            return torch.poisson(clip * level, generator=generator) / level
        if self.kind == "impulse":
            ticket = torch.rand(clip.shape, generator=generator)
            return torch.where(ticket < level, (ticket < level / 2).to(clip.dtype), clip)
        noise = level * torch.randn(clip.shape, generator=generator)
        return clip + (noise if self.kind == "gaussian" else clip * noise)

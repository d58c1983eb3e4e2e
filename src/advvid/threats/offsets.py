"""Flicker: one colour offset for each frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from advvid.core.batch import Space
from advvid.threats.base import TOLERANCE, Aux, per_clip


@dataclass(frozen=True)
class Offsets:
    """Clips ``clamp(x + d)`` where d is one number for each frame and channel (Kinfu & Vidal, sec. 2, eq. 4).

    The offsets have no bound of their own: the attack's regularisers keep them small.
    """

    space: Space = field(default_factory=Space)

    @property
    def budget(self) -> str:
        """The set in words."""
        return "one offset per frame and channel"

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Draw nothing: the search chooses the offsets."""
        return {}

    def random_start(self, x: Tensor, generators: Sequence[torch.Generator], aux: Aux | None = None) -> Tensor:
        """Return ``x`` under offsets uniform in the width of the space."""
        rolls = [torch.rand(x.shape[1:3], generator=g) for g in generators]
        return self.apply(x, (torch.stack(rolls).to(x) * 2 - 1) * self.space.width)

    def apply(self, x: Tensor, pattern: Tensor) -> Tensor:
        """Return ``x`` plus a pattern ``[B, C, T]``, clamped to valid pixels."""
        return self.space.clamp(x + pattern[..., None, None])

    def ascend(self, x_adv: Tensor, grad: Tensor, step_size: float, aux: Aux | None = None) -> Tensor:
        """Step by ``step_size`` along the sign of each frame's and channel's summed gradient."""
        return x_adv + step_size * grad.sum(dim=(-2, -1), keepdim=True).sign()

    def project(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Replace the change of each frame and channel by its mean (the nearest offset), then clamp."""
        # A clip that is inside already stays: the mean over clamped pixels would pull its offset back.
        delta = (x_adv - x).mean(dim=(-2, -1))
        return torch.where(per_clip(self.contains(x_adv, x), x), x_adv, self.apply(x, delta))

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips are explained by one offset per frame and channel, and by that of ``aux`` if given.

        A pixel at the end of the space bounds the offset from one side only: clamping hides how far it went.
        """
        delta = x_adv - x
        least = torch.where(x_adv <= self.space.low, -torch.inf, delta - TOLERANCE).amax(dim=(-2, -1))
        most = torch.where(x_adv >= self.space.high, torch.inf, delta + TOLERANCE).amin(dim=(-2, -1))
        allowed = (least <= most).flatten(1).all(dim=1) & self.space.contains(x_adv)
        if aux is not None and "pattern" in aux:
            allowed &= ((self.apply(x, aux["pattern"]) - x_adv).abs() <= TOLERANCE).flatten(1).all(dim=1)
        return allowed

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return the largest absolute change in each clip."""
        return (x_adv - x).abs().flatten(1).amax(dim=1)

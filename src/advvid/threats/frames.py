"""Sets that confine the change to some frames of the clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advvid.threats.base import Aux
from advvid.threats.regions import RegionThreat


@dataclass(frozen=True)
class Frames(RegionThreat):
    """An l-inf ball of which a clip uses whole frames; ``aux["frames"]`` (``bool [B, T]``) says which.

    Any number of frames is allowed; an attack that touches fewer says so in ``aux`` and is held to it.
    """

    @property
    def where(self) -> str:
        """The region in words."""
        return "whole frames"

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Give every clip all of its frames."""
        return {"frames": torch.ones(len(x), x.shape[2], dtype=torch.bool, device=x.device)}

    def mask(self, aux: Aux | None) -> Tensor:
        """Return the frames as ``bool [B, 1, T, 1, 1]``."""
        if aux is None or "frames" not in aux:
            raise ValueError("this threat needs the frames that its sample() or the attack chose")
        return aux["frames"][:, None, :, None, None]

    def fits(self, changed: Tensor) -> Tensor:
        """Tell that any set of frames is allowed."""
        return torch.ones(len(changed), dtype=torch.bool, device=changed.device)

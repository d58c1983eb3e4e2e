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
        return frame_mask(aux)

    def fits(self, changed: Tensor) -> Tensor:
        """Tell that any set of frames is allowed."""
        return torch.ones(len(changed), dtype=torch.bool, device=changed.device)


def frame_mask(aux: Aux | None) -> Tensor:
    """Return the chosen frames as ``bool [B, 1, T, 1, 1]``."""
    if aux is None or "frames" not in aux:
        raise ValueError("this threat needs the frames that its sample() or the attack chose")
    return aux["frames"][:, None, :, None, None]


def draw_frames(x: Tensor, count: int | None, only: Sequence[int] | None, generators: Sequence[torch.Generator]) -> Aux:
    """Draw ``count`` frames of each clip, None for all: those of ``only``, else any, each set with equal chance."""
    length = x.shape[2]
    allowed = [i for i in only if i < length] if only is not None else list(range(length))
    mask = torch.zeros(len(x), length, dtype=torch.bool)
    for row, generator in zip(mask, generators, strict=True):
        order = torch.randperm(len(allowed), generator=generator)[:count]
        row[[allowed[i] for i in order.tolist()]] = True
    return {"frames": mask.to(x.device, non_blocking=True)}


def touched_frames(x_adv: Tensor, x: Tensor) -> Tensor:
    """Tell which frames differ, ``bool [B, T]``."""
    return (x_adv != x).transpose(1, 2).flatten(2).any(dim=2)


def frames_fit(x_adv: Tensor, x: Tensor, count: int | None, only: Sequence[int] | None, aux: Aux | None) -> Tensor:
    """Tell which clips differ in at most ``count`` frames, all among ``only`` and those that ``aux`` claims, ``bool [B]``."""
    touched = touched_frames(x_adv, x)
    claimed = None if aux is None else aux.get("frames")
    fits = torch.ones(len(x), dtype=torch.bool, device=x.device)
    if count is not None:
        fits &= touched.sum(dim=1) <= count
    if only is not None:
        permitted = torch.tensor([i in only for i in range(x.shape[2])], device=x.device)
        fits &= ~(touched & ~permitted).any(dim=1)
    if claimed is not None:
        fits &= ~(touched & ~claimed).any(dim=1)
        if count is not None:
            fits &= claimed.sum(dim=1) <= count
    return fits

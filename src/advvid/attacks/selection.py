"""Which frames of each clip an attack touches, and how to take them out and put them back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Selection:
    """The same number N of frames in each clip, at places of its own.

    Shape:
        index: int64 ``[B, N]``, ascending and distinct in each row. length: T, the frames of a clip.

    Example:
        >>> Selection(torch.tensor([[0, 2]]), 4).mask()
        tensor([[ True, False,  True, False]])
    """

    index: Tensor
    length: int

    def mask(self) -> Tensor:
        """Return the selected frames as ``bool [B, T]``."""
        empty = torch.zeros(len(self.index), self.length, dtype=torch.bool, device=self.index.device)
        return empty.scatter(1, self.index, True)

    def take(self, clips: Tensor) -> Tensor:
        """Return the selected frames, ``[B, C, N, ...]``."""
        return clips.gather(2, self._places(clips))

    def put(self, clips: Tensor, frames: Tensor) -> Tensor:
        """Return ``clips`` with the selected frames replaced; all others are the very same bits."""
        return clips.scatter(2, self._places(clips), frames)

    def rows(self, keep: Tensor) -> Selection:
        """Return the selection of some of the clips."""
        return Selection(self.index[keep], self.length)

    def _places(self, clips: Tensor) -> Tensor:
        batch, count = self.index.shape
        rest = clips.dim() - 3
        return self.index.view(batch, 1, count, *[1] * rest).expand(-1, clips.shape[1], -1, *clips.shape[3:])

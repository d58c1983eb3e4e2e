"""Median filter."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional

from advvid.core.kinds import Odd
from advvid.purifiers.base import Generators, Purifier, on_frames


class MedianFilter(Purifier):
    """Give every pixel the median of its square neighbourhood (Lo & Patel's list, after Raff et al. 2019).

    The gradient goes to the pixel that is the median, so that no stand-in is needed.

    Args:
        size: side of the square, odd.

    Shape:
        clips ``[B, 3, T, H, W]``; each channel by itself.
    """

    def __init__(self, size: Annotated[int, Ge(1), Le(15), Odd()] = 3) -> None:
        super().__init__()
        self.size = size

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return filtered clips; the border repeats its last pixel."""

        def median(frames: Tensor) -> Tensor:
            wide = functional.pad(frames, [self.size // 2] * 4, mode="replicate")
            return wide.unfold(2, self.size, 1).unfold(3, self.size, 1).flatten(4).median(dim=4).values

        return on_frames(clips, median)

"""Mean filter."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional

from advvid.core.kinds import Odd
from advvid.purifiers.base import Generators, Purifier, on_frames


class MeanFilter(Purifier):
    """Give every pixel the mean of its square neighbourhood (Lo & Patel's list, after Raff et al. 2019).

    Args:
        size: side of the square, odd.

    Shape:
        clips ``[B, 3, T, H, W]``.
    """

    def __init__(self, size: Annotated[int, Ge(1), Le(31), Odd()] = 3) -> None:
        super().__init__()
        self.size = size

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return smoothed clips; the border repeats its last pixel."""
        sides = [self.size // 2] * 4
        return on_frames(
            clips, lambda frames: functional.avg_pool2d(functional.pad(frames, sides, mode="replicate"), self.size, 1)
        )

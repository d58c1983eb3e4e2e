"""Mean filter."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from advvid.purifiers.base import Generators, Purifier, on_frames, whole


class MeanFilter(Purifier):
    """Give every pixel the mean of its square neighbourhood (Lo & Patel's list, after Raff et al. 2019).

    Args:
        size: side of the square, odd.

    Shape:
        clips ``[B, 3, T, H, W]``.
    """

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.size = whole(size, "purifier.mean_filter.size", 1, 31, odd=True)

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return smoothed clips; the border repeats its last pixel."""
        sides = [self.size // 2] * 4
        return on_frames(
            clips, lambda frames: functional.avg_pool2d(functional.pad(frames, sides, mode="replicate"), self.size, 1)
        )

"""Grey frames."""

from __future__ import annotations

from torch import Tensor

from advvid.purifiers.base import Generators, Purifier

# Luma of ITU-R BT.601, what JPEG and most video files use.
LUMA = (0.299, 0.587, 0.114)


class Grayscale(Purifier):
    """Replace every colour by its luma (Lo & Patel's list, after Raff et al. 2019).

    Shape:
        clips ``[B, 3, T, H, W]``, the three channels equal afterwards.
    """

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return grey clips."""
        luma = (clips * clips.new_tensor(LUMA).view(3, 1, 1, 1)).sum(dim=1, keepdim=True)
        return luma.expand_as(clips)

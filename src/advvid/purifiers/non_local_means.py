"""Non-local means."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from advvid.purifiers.base import Generators, Purifier, number, on_frames, whole


class NonLocalMeans(Purifier):
    """Give every pixel the mean of those whose surroundings look alike (Lo & Patel, halftone table).

    The weight of another pixel falls with the mean square difference of the two patches around them (Buades, Coll and
    Morel 2005, sec. 3), over all channels. Differentiable, the weights included, so that no stand-in is needed.

    Args:
        strength: the difference of patches, per value, that still counts as alike.
        patch: side of the patches that are compared, odd.
        search: side of the square in which pixels are looked for, odd.

    Shape:
        clips ``[B, 3, T, H, W]``; each frame by itself.

    Example:
        >>> NonLocalMeans()(torch.full((1, 3, 1, 8, 8), 0.5)).unique()
        tensor([0.5000])
    """

    def __init__(self, strength: float | str = 0.1, patch: int = 5, search: int = 13) -> None:
        super().__init__()
        self.strength = number(strength, "purifier.non_local_means.strength", 1e-3, 10)
        self.patch = whole(patch, "purifier.non_local_means.patch", 1, 31, odd=True)
        self.search = whole(search, "purifier.non_local_means.search", 1, 63, odd=True)

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return filtered clips; the border repeats its last pixel."""
        return on_frames(clips, self._filter)

    def _filter(self, frames: Tensor) -> Tensor:
        near, reach = self.patch // 2, self.search // 2
        height, width = frames.shape[-2] + 2 * near, frames.shape[-1] + 2 * near
        wide = functional.pad(frames, [near + reach] * 4, mode="replicate")
        own = wide[..., reach : reach + height, reach : reach + width]
        total, weights = torch.zeros_like(frames), frames.new_zeros(len(frames), 1, *frames.shape[-2:])
        # Displacement by displacement for all pixels at once; the mean over patches is a mean over a moving square.
        for down in range(self.search):
            for right in range(self.search):
                other = wide[..., down : down + height, right : right + width]
                unlike = functional.avg_pool2d((other - own).square().mean(dim=1, keepdim=True), self.patch, stride=1)
                weight = (-unlike / self.strength**2).exp()
                total = total + weight * other[..., near : height - near, near : width - near]
                weights = weights + weight
        return total / weights

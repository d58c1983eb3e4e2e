"""Non-local means."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from advvid.core.kinds import Numeral, Odd
from advvid.purifiers.base import Generators, Purifier, on_frames


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

    def __init__(
        self,
        strength: Annotated[float | str, Numeral(), Ge(1e-3), Le(10)] = 0.1,
        patch: Annotated[int, Ge(1), Le(31), Odd()] = 5,
        search: Annotated[int, Ge(1), Le(63), Odd()] = 13,
    ) -> None:
        super().__init__()
        self.strength = float(strength)
        self.patch = patch
        self.search = search

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return filtered clips; the border repeats its last pixel."""
        return on_frames(clips, self._filter)

    def _filter(self, frames: Tensor) -> Tensor:
        side = self.patch // 2 + self.search // 2
        wide = functional.pad(frames, [side] * 4, mode="replicate")
        total, weights = torch.zeros_like(frames), frames.new_zeros(len(frames), 1, *frames.shape[-2:])
        attacked = torch.is_grad_enabled() and frames.requires_grad
        for down in range(self.search):
            # Computed again in the backward pass: all displacements would fill gigabytes for a batch of clips.
            part, weight = (
                checkpoint(self._row, wide, down, use_reentrant=False, preserve_rng_state=False)
                if attacked
                else self._row(wide, down)
            )
            total, weights = total + part, weights + weight
        return total / weights

    def _row(self, wide: Tensor, down: int) -> tuple[Tensor, Tensor]:
        """Return the weighted sum over all displacements with the same distance down, and the sum of weights.

        Displacement by displacement for all pixels at once; the mean over a patch is a mean over a moving square.
        """
        near, reach = self.patch // 2, self.search // 2
        height, width = wide.shape[-2] - 2 * reach, wide.shape[-1] - 2 * reach
        own = wide[..., reach : reach + height, reach : reach + width]
        parts, weights = [], []
        for right in range(self.search):
            other = wide[..., down : down + height, right : right + width]
            unlike = functional.avg_pool2d((other - own).square().mean(dim=1, keepdim=True), self.patch, stride=1)
            weights.append((-unlike / self.strength**2).exp())
            parts.append(weights[-1] * other[..., near : height - near, near : width - near])
        return torch.stack(parts).sum(dim=0), torch.stack(weights).sum(dim=0)

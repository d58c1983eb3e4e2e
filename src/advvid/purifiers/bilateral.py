"""Bilateral filter."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional

from advvid.core.kinds import Numeral, Odd
from advvid.purifiers.base import Generators, Purifier, on_frames


class Bilateral(Purifier):
    """Give every pixel the mean of its neighbours, those of its own colour above all (Lo & Patel's list).

    A neighbour's weight falls with its distance in the picture and with its distance in colour (Tomasi & Manduchi 1998,
    sec. 2), so that edges stay. The weights depend on the clip, and gradients flow through them as well.

    Args:
        size: side of the square neighbourhood, odd.
        sigma_space: in pixels.
        sigma_color: of the Euclidean distance of two colours, whose channels lie in [0, 1].

    Shape:
        clips ``[B, 3, T, H, W]``.

    Example:
        >>> Bilateral()(torch.full((1, 3, 1, 8, 8), 0.5)).unique()
        tensor([0.5000])
    """

    def __init__(
        self,
        size: Annotated[int, Ge(1), Le(15), Odd()] = 5,
        sigma_space: Annotated[float | str, Numeral(), Ge(0.01), Le(100)] = 1.5,
        sigma_color: Annotated[float | str, Numeral(), Ge(0.001), Le(100)] = 0.1,
    ) -> None:
        super().__init__()
        self.size = size
        self.sigma_space = float(sigma_space)
        self.sigma_color = float(sigma_color)

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return filtered clips; the border repeats its last pixel."""
        return on_frames(clips, self._filter)

    def _filter(self, frames: Tensor) -> Tensor:
        reach, (height, width) = self.size // 2, frames.shape[-2:]
        wide = functional.pad(frames, [reach] * 4, mode="replicate")
        total, weights = torch.zeros_like(frames), frames.new_zeros(len(frames), 1, height, width)
        # Neighbour by neighbour for all pixels at once: far less memory than all neighbourhoods laid out.
        for down in range(self.size):
            for right in range(self.size):
                near = wide[..., down : down + height, right : right + width]
                apart = ((down - reach) ** 2 + (right - reach) ** 2) / (2 * self.sigma_space**2)
                unlike = (near - frames).square().sum(dim=1, keepdim=True) / (2 * self.sigma_color**2)
                weight = (-apart - unlike).exp()
                total, weights = total + weight * near, weights + weight
        return total / weights

"""Gaussian blur."""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import gaussian_blur

from advvid.core.kinds import Numeral
from advvid.purifiers.base import Generators, Purifier, on_frames


class GaussianBlur(Purifier):
    """Blur every frame (Lo & Patel, halftone table).

    Args:
        sigma: of the kernel in pixels, which reaches three of them to each side.

    Shape:
        clips ``[B, 3, T, H, W]``.

    Example:
        >>> GaussianBlur(1.0)(torch.full((1, 3, 1, 8, 8), 0.5)).unique()
        tensor([0.5000])
    """

    def __init__(self, sigma: Annotated[float | str, Numeral(), Ge(0.01), Le(20)] = 1.0) -> None:
        super().__init__()
        self.sigma = float(sigma)

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return blurred clips; the border repeats its last pixel, so that any frame is large enough."""
        reach = math.ceil(3 * self.sigma)
        sides = [reach] * 4

        def blur(frames: Tensor) -> Tensor:
            wide = functional.pad(frames, sides, mode="replicate")
            blurred = gaussian_blur(wide, [2 * reach + 1] * 2, [self.sigma] * 2)
            return blurred[..., reach:-reach, reach:-reach]

        return on_frames(clips, blur)

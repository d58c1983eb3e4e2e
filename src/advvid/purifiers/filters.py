"""Filters of space: every frame smoothed, resized or turned by itself."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import gaussian_blur, resize

from advvid.core.kinds import Numeral, Odd
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


class Resize(Purifier):
    """Make every frame smaller (or larger) and bring it back to its size (Lo & Patel's list).

    Args:
        scale: of both sides, 1 for none.
        mode: ``bilinear``, ``bicubic`` (both against aliasing) or ``nearest``.

    Shape:
        clips ``[B, 3, T, H, W]``.
    """

    def __init__(
        self,
        scale: Annotated[float | str, Numeral(), Ge(0.05), Le(4)] = 0.5,
        mode: Literal["bilinear", "bicubic", "nearest"] = "bilinear",
    ) -> None:
        super().__init__()
        self.scale = float(scale)
        self.mode = mode

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return the clips after both steps."""
        size = list(clips.shape[-2:])
        small = [max(1, round(side * self.scale)) for side in size]
        how = InterpolationMode(self.mode)
        return on_frames(
            clips, lambda frames: resize(resize(frames, small, how, antialias=True), size, how, antialias=True)
        )


class Swirl(Purifier):
    """Turn every frame about its centre by an angle that falls off with the distance (Lo & Patel's list).

    At a distance r the angle is ``strength * exp(-5 r / (radius ln 2))``, as image libraries have it; pixels are read
    bilinearly and gradients flow to where they were read.

    Args:
        strength: the angle at the centre in radians; negative turns the other way.
        radius: of the swirl in pixels; None for half the shorter side.

    Shape:
        clips ``[B, 3, T, H, W]``.

    Example:
        >>> clips = torch.rand(1, 3, 1, 9, 9)
        >>> torch.allclose(Swirl(strength=0)(clips), clips, atol=1e-6)
        True
    """

    def __init__(
        self,
        strength: Annotated[float | str, Numeral(), Ge(-20), Le(20)] = 1.0,
        radius: Annotated[float | str, Numeral(), Ge(0.1), Le(10_000)] | None = None,
    ) -> None:
        super().__init__()
        self.strength = float(strength)
        self.radius = None if radius is None else float(radius)

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return swirled clips; what would be read beyond the border is the border's."""
        grid = self._grid(*clips.shape[-2:]).to(clips)
        return on_frames(
            clips,
            lambda frames: functional.grid_sample(
                frames, grid.expand(len(frames), -1, -1, -1), padding_mode="border", align_corners=False
            ),
        )

    def _grid(self, height: int, width: int) -> Tensor:
        """Return where every pixel is read, ``[1, H, W, 2]`` as x and y from -1 to 1."""
        y = (torch.arange(height, dtype=torch.float64) - (height - 1) / 2).view(-1, 1)
        x = (torch.arange(width, dtype=torch.float64) - (width - 1) / 2).view(1, -1)
        distance = (x.square() + y.square()).sqrt()
        radius = min(height, width) / 2 if self.radius is None else self.radius
        angle = torch.atan2(y, x) + self.strength * (-5 * distance / (radius * math.log(2))).exp()
        return torch.stack([2 * distance * angle.cos() / width, 2 * distance * angle.sin() / height], dim=2)[None]

"""JPEG with a gradient: what the backward pass of the real codec goes through."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional

from advvid.core.kinds import Numeral
from advvid.purifiers.base import Purifier, StandIn, on_frames
from advvid.purifiers.integer_dct import cosines
from advvid.purifiers.levels import LUMA, Jpeg
from advvid.purifiers.surrogates import smoothly_rounded

# Quantisers of ITU T.81, annex K, tables K.1 (brightness) and K.2 (colour), at quality 50.
BRIGHTNESS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
COLOUR = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)


class SmoothJpeg(StandIn):
    """JPEG whose rounding is that of the codec on average over a noise on each coefficient.

    Brightness and colour, colour at half the resolution, the transform of 8 x 8 blocks and its quantisers are the codec's
    own. The gradient of ``E[round(c + noise)]`` is 1 on average, small far from where the rounding jumps, and greatest there:
    the attack puts its change where it survives.

    Args:
        spread: standard deviation of the noise in steps of the quantiser; about 0.4 and above is rounding left out.

    Shape:
        clips ``[B, 3, T, H, W]`` of any size.
    """

    stands_for = (Jpeg,)

    def __init__(self, spread: Annotated[float | str, Numeral(), Ge(0.01), Le(10)] = 0.25) -> None:
        super().__init__()
        self.spread = float(spread)

    def forward(self, clips: Tensor, purifier: Purifier) -> Tensor:
        """Return the clips nearly as they are read back; differentiable."""
        assert isinstance(purifier, Jpeg)
        tables = [quantisers(table, purifier.quality).to(clips) for table in (BRIGHTNESS, COLOUR)]
        return on_frames(clips, lambda frames: self._there_and_back(frames * 255, *tables) / 255)

    def _there_and_back(self, frames: Tensor, brightness: Tensor, colour: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        fill = [0, -width % 16, 0, -height % 16]
        whole = functional.pad(frames, fill, mode="replicate") if any(fill) else frames
        mix = _mix().to(frames)
        parts = torch.einsum("ij,njhw->nihw", mix, whole)
        light = self._coarsened(parts[:, :1] - 128, brightness) + 128
        small = self._coarsened(functional.avg_pool2d(parts[:, 1:], 2), colour)
        large = functional.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)
        found = torch.einsum("ij,njhw->nihw", torch.linalg.inv(mix), torch.cat([light, large], dim=1))
        return found[..., :height, :width]

    def _coarsened(self, planes: Tensor, table: Tensor) -> Tensor:
        matrix = cosines(8).to(planes)
        blocks = planes.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)
        levels = smoothly_rounded(matrix @ blocks @ matrix.T / table, self.spread) * table
        return (matrix.T @ levels @ matrix).transpose(-3, -2).flatten(-4, -3).flatten(-2, -1)


def quantisers(table: tuple[tuple[int, ...], ...], quality: int) -> Tensor:
    """Return a table of quantisers at a quality of 1 to 100, as libjpeg scales it.

    Example:
        >>> quantisers(BRIGHTNESS, 75)[0, :4]
        tensor([8., 6., 5., 8.])
    """
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(table) * scale + 50) // 100).clamp(1, 255).float()


def _mix() -> Tensor:
    """Return what makes brightness and two colour differences of red, green and blue (JFIF)."""
    red, green, blue = LUMA
    to_blue, to_red = 0.5 / (1 - blue), 0.5 / (1 - red)
    return torch.tensor(
        [
            [red, green, blue],
            [-red * to_blue, -green * to_blue, 0.5],
            [0.5, -green * to_red, -blue * to_red],
        ]
    )

"""A random shift in another colour space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from advvid.core.kinds import ShareNumber
from advvid.purifiers.base import Generators, Purifier, per_clip
from advvid.purifiers.levels import LUMA

# From linear sRGB to CIE XYZ relative to its white (D65), IEC 61966-2-1.
_XYZ = torch.tensor(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
    dtype=torch.float64,
)
_XYZ = _XYZ / _XYZ.sum(dim=1, keepdim=True)
# Luma, and blue and red less luma, each a full range of 1 (JPEG's YCbCr).
_R, _G, _B = LUMA
_YUV = torch.tensor([[_R, _G, _B], [-_R, -_G, 1 - _B], [1 - _R, -_G, -_B]], dtype=torch.float64)
_YUV = _YUV / torch.tensor([[1], [2 * (1 - _B)], [2 * (1 - _R)]], dtype=torch.float64)
_LAB = torch.tensor([[0.0, 1.16, 0.0], [5.0, -5.0, 0.0], [0.0, 2.0, -2.0]], dtype=torch.float64)


class ColorSpace(Purifier):
    """Shift each channel of another colour space by a random amount and come back (Lo & Patel's list, Raff et al. 2019).

    Random: an attack averages over draws (EOT). One draw per clip; differentiable, corner points aside.

    Args:
        space: ``yuv``, ``hsv`` or ``lab``, whose channels are scaled to a range of about 1.
        shift: the largest amount; it is drawn evenly from ``-shift`` to ``shift``.

    Shape:
        clips ``[B, 3, T, H, W]``.
    """

    random = True

    def __init__(self, space: Literal["yuv", "hsv", "lab"] = "yuv", shift: ShareNumber = 0.05) -> None:
        super().__init__()
        self.space, self.shift = space, float(shift)

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return the clips with shifted colours."""

        def draw(generator: torch.Generator | None) -> Tensor:
            return 2 * torch.rand(3, 1, 1, 1, generator=generator) - 1

        there, back = SPACES[self.space]
        return back(there(clips) + self.shift * per_clip(clips, generators, draw).to(clips.dtype))


def to_yuv(clips: Tensor) -> Tensor:
    """Return luma and the two differences of colour (ITU-R BT.601), the latter from -1/2 to 1/2."""
    return _mixed(_YUV, clips)


def from_yuv(values: Tensor) -> Tensor:
    """Invert ``to_yuv``."""
    return _mixed(_YUV.inverse(), values)


def to_hsv(clips: Tensor) -> Tensor:
    """Return hue in turns, saturation and value; the hue of grey is 0."""
    value, low = clips.amax(dim=1), clips.amin(dim=1)
    chroma = value - low
    safe = chroma.clamp(min=1e-12)
    r, g, b = clips.unbind(dim=1)
    sixth = torch.where(value == r, (g - b) / safe, torch.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    hue = torch.where(chroma > 0, (sixth / 6) % 1, torch.zeros_like(sixth))
    return torch.stack([hue, chroma / value.clamp(min=1e-12), value], dim=1)


def from_hsv(values: Tensor) -> Tensor:
    """Invert ``to_hsv``; the hue goes round, saturation and value are cut to [0, 1]."""
    hue = values[:, :1]
    saturation, value = values[:, 1:2].clamp(0, 1), values[:, 2:].clamp(0, 1)
    place = values.new_tensor([5.0, 3.0, 1.0]).view(1, 3, *[1] * (values.ndim - 2))
    turn = (place + 6 * hue) % 6
    return value - value * saturation * torch.minimum(turn, 4 - turn).clamp(0, 1)


def to_lab(clips: Tensor) -> Tensor:
    """Return CIE L*a*b* (D65), each divided by 100."""
    linear = torch.where(clips > 0.04045, ((clips.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, clips / 12.92)
    xyz = _mixed(_XYZ, linear)
    small, cut = 6 / 29, (6 / 29) ** 3
    root = torch.where(xyz > cut, xyz.clamp(min=cut) ** (1 / 3), xyz / (3 * small**2) + 4 / 29)
    return _mixed(_LAB, root) - values_of([0.16, 0.0, 0.0], root)


def from_lab(values: Tensor) -> Tensor:
    """Invert ``to_lab``; colours that no screen shows are cut to [0, 1]."""
    root = _mixed(_LAB.inverse(), values + values_of([0.16, 0.0, 0.0], values))
    small = 6 / 29
    xyz = torch.where(root > small, root**3, 3 * small**2 * (root - 4 / 29))
    linear = _mixed(_XYZ.inverse(), xyz).clamp(0, 1)
    cut = 0.04045 / 12.92
    return torch.where(linear > cut, 1.055 * linear.clamp(min=cut) ** (1 / 2.4) - 0.055, 12.92 * linear)


def values_of(numbers: list[float], like: Tensor) -> Tensor:
    """Return one number per channel, in a shape that broadcasts."""
    return like.new_tensor(numbers).view(1, 3, *[1] * (like.ndim - 2))


def _mixed(matrix: Tensor, clips: Tensor) -> Tensor:
    return torch.einsum("ij,bj...->bi...", matrix.to(clips), clips)


SPACES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "yuv": (to_yuv, from_yuv),
    "hsv": (to_hsv, from_hsv),
    "lab": (to_lab, from_lab),
}

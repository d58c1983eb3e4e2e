"""Resizing there and back."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Le
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from advvid.core.kinds import Numeral
from advvid.purifiers.base import Generators, Purifier, on_frames


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

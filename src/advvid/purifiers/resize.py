"""Resizing there and back."""

from __future__ import annotations

from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from advvid.errors import AdvvidError
from advvid.purifiers.base import Generators, Purifier, number, on_frames

MODES = ("bilinear", "bicubic", "nearest")


class Resize(Purifier):
    """Make every frame smaller (or larger) and bring it back to its size (Lo & Patel's list).

    Args:
        scale: of both sides, 1 for none.
        mode: ``bilinear``, ``bicubic`` (both against aliasing) or ``nearest``.

    Shape:
        clips ``[B, 3, T, H, W]``.
    """

    def __init__(self, scale: float | str = 0.5, mode: str = "bilinear") -> None:
        super().__init__()
        self.scale = number(scale, "purifier.resize.scale", 0.05, 4)
        if mode not in MODES:
            raise AdvvidError(f"purifier.resize.mode={mode!r} is not known: choose one of {', '.join(MODES)}")
        self.mode = mode

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return the clips after both steps."""
        size = list(clips.shape[-2:])
        small = [max(1, round(side * self.scale)) for side in size]
        how = InterpolationMode(self.mode)
        return on_frames(
            clips, lambda frames: resize(resize(frames, small, how, antialias=True), size, how, antialias=True)
        )

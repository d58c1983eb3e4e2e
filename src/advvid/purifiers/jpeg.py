"""JPEG compression of every frame."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from advvid.purifiers.base import Generators, Purifier, on_frames


class Jpeg(Purifier):
    """Write every frame as a JPEG picture and read it back (Lo & Patel, halftone table), by libjpeg.

    Args:
        quality: 1 (worst) to 100.
        surrogate: see ``Purifier``.

    Shape:
        clips ``[B, 3, T, H, W]``; computed on the CPU.
    """

    differentiable = False

    def __init__(self, quality: Annotated[int, Ge(1), Le(100)] = 75, surrogate: nn.Module | None = None) -> None:
        super().__init__(surrogate)
        self.quality = quality

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return the clips as they are read back."""

        def there_and_back(frames: Tensor) -> Tensor:
            levels = (frames * 255).round().clamp(0, 255).to(torch.uint8).cpu().contiguous()
            files = encode_jpeg(list(levels), self.quality) if len(levels) else []
            read = [decode_jpeg(file, mode=ImageReadMode.RGB) for file in files]
            return (torch.stack(read) if read else levels).to(frames.device).to(frames.dtype) / 255

        return on_frames(clips, there_and_back)

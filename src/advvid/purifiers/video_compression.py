"""Video compression."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from advvid.core.kinds import Whole
from advvid.data.encode import settings_of
from advvid.data.loader import cores
from advvid.data.round_trip import through_codec
from advvid.purifiers.base import Generators, Purifier


class VideoCompression(Purifier):
    """Send every clip through a real video codec (Kinfu & Vidal, Table 4): H.264, yuv420p, constant rate factor 28.

    Encoder and decoder are FFmpeg's, in memory. Not differentiable: attacked by BPDA.

    Args:
        codec: ``libx264`` (H.264), ``mpeg4``, or ``ffv1``, which only rounds to 8 bits.
        quality: constant rate factor of libx264, 0 (best) to 51. mpeg4 has none: its quantiser is held constant
            instead, 1 (best) to 31. None for 18 and 3.
        gop: largest distance between frames that decode by themselves; FFmpeg's default for H.264 is 250.
        rate: frames per second that the encoder believes in.
        processes: that share a batch's clips; None for one per core. 1 codes in this process, which for small batches
            of small clips is as fast.
        surrogate: see ``Purifier``.

    Shape:
        clips ``[B, 3, T, H, W]``; computed on the CPU. A clip is coded by itself, so that its neighbours do not matter.

    Raises:
        AdvvidError: for a codec or quality that cannot be.

    Example:
        >>> VideoCompression()(torch.full((1, 3, 4, 32, 32), 0.5)).shape
        torch.Size([1, 3, 4, 32, 32])
    """

    differentiable = False

    def __init__(
        self,
        codec: Literal["libx264", "mpeg4", "ffv1"] = "libx264",
        quality: Whole | None = 28,
        gop: Annotated[int, Ge(1), Le(10_000)] = 250,
        rate: Annotated[int, Ge(1), Le(1000)] = 25,
        processes: Annotated[int, Ge(1), Le(256)] | None = 1,
        surrogate: nn.Module | None = None,
    ) -> None:
        super().__init__(surrogate)
        settings_of(codec, quality, gop)
        self.codec, self.quality = codec, quality
        self.gop = gop
        self.rate = rate
        found = cores() if processes is None else processes
        self._processes = found  # no setting of the result

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return the clips as they are decoded."""
        levels = (clips * 255).round().clamp(0, 255).to(torch.uint8)
        back = through_codec(levels, self.codec, self.quality, self.gop, self.rate, self._processes)
        return back.to(clips.device).to(clips.dtype) / 255

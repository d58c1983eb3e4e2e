"""What compression takes away, by the codecs themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from advvid.attacks.corruption import Corruption
from advvid.data.round_trip import through_codec

# By severity. JPEG's qualities are those of ImageNet-C; H.264's rate factors those of Yi et al. 2021 (Mini Kinetics-C).
# Schiappa et al. compress to bit rates, which clips of a few frames never reach: mpeg4's quantiser is held instead.
QUALITY = {"jpeg": (25, 18, 15, 10, 7), "mpeg4": (4, 8, 13, 20, 31), "h264": (23, 30, 37, 44, 51)}
CODEC = {"mpeg4": "mpeg4", "h264": "libx264"}


@dataclass(frozen=True, kw_only=True)
class CodecCorruption(Corruption):
    """Every clip through a real codec and back: JPEG frame by frame, MPEG-4 or H.264 as a video.

    Args:
        kind: of compression.
        severity: see ``Corruption``.

    Example:
        >>> CodecCorruption(kind="h264", severity=5).threat.budget
        'corruption: h264 compression, severity 5 of 5'
    """

    kind: Literal["jpeg", "mpeg4", "h264"] = "h264"

    @property
    def words(self) -> str:
        """The kind of corruption in words."""
        return f"{self.kind} compression"

    def corrupt(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        """Return one clip as it is decoded; nothing is drawn."""
        quality = QUALITY[self.kind][self.severity - 1]
        levels = (clip * 255).round().to(torch.uint8)
        if self.kind == "jpeg":
            files = [encode_jpeg(frame, quality) for frame in levels.transpose(0, 1).contiguous()]
            back = torch.stack([decode_jpeg(file, mode=ImageReadMode.RGB) for file in files], dim=1)
        else:
            back = through_codec(levels[None], CODEC[self.kind], quality)[0]
        return back.to(clip.dtype) / 255

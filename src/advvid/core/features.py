"""Features of a video's frames as inputs: the second modality besides clips of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from advvid.core.batch import Space


@dataclass(frozen=True)
class FrameFeatures(Space):
    """Where frame-level features lie: ``[B, T, F]``, each in [-2, 2], several streams side by side along F.

    Shorter videos end in frames of zeros. Such a frame is padding: models leave it out, attacks may not touch it. A
    frame of a video is never all zeros, as no byte is dequantised to zero. Nothing else has to know of padding.

    Args:
        low: smallest value.
        high: largest value.
        sizes: values that each stream has per frame (YouTube-8M: 1024 of pictures, then 128 of sound).

    Example:
        >>> [part.shape[-1] for part in FrameFeatures().parts(torch.zeros(1, 300, 1152))]
        [1024, 128]
    """

    low: float = -2.0
    high: float = 2.0
    sizes: Sequence[int] = (1024, 128)

    def free(self, clean: Tensor) -> Tensor:
        """Tell which values may change, ``bool [B, T, 1]``: those of the video's own frames."""
        return valid_frames(clean).unsqueeze(-1)

    def parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the streams, ``[B, T, size]`` each."""
        return x.split(list(self.sizes), dim=-1)


def valid_frames(features: Tensor) -> Tensor:
    """Tell a video's own frames from padding, ``bool [B, T]`` for features ``[B, T, F]``."""
    return features.ne(0).any(dim=-1)

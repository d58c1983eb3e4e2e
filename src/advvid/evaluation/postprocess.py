"""What an adversarial clip goes through before anyone classifies it: eight bits, and a video codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advvid.core.allowed import check_fields
from advvid.core.kinds import CodecName, Postprocess, Whole
from advvid.data.round_trip import through_codec


@dataclass(frozen=True)
class Postprocessing:
    """What happens to adversarial clips on their way to the classifier; the attack does not know of it (DeepSAVA, sec. 4.4).

    Args:
        name: ``uint8`` rounds every value to 8 bits, as any video file does; ``codec`` encodes each clip as a video
            file does and decodes it again.
        codec: ``libx264``, ``mpeg4`` or, without loss, ``ffv1``.
        quality: constant rate factor of libx264, quantiser of mpeg4; None for 18 and 3.

    Example:
        >>> Postprocessing("uint8")(torch.tensor(0.5).expand(1, 3, 1, 2, 2)).mul(255).unique()
        tensor([128.])
    """

    name: Postprocess = "uint8"
    codec: CodecName = "libx264"
    quality: Whole | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, clips: Tensor) -> Tensor:
        """Return clips ``[B, 3, T, H, W]`` in [0, 1] as they arrive at the other end."""
        levels = clips.mul(255).round().clamp(0, 255).to(torch.uint8)
        if self.name == "codec":
            levels = through_codec(levels, self.codec, self.quality)
        return levels.to(clips.device).float().div_(255)


def postprocessing(
    kinds: Postprocess | Sequence[Postprocess] | None, codec: CodecName, quality: int | None
) -> list[Postprocessing]:
    """Read the option ``postprocess``: None, a name, or several."""
    names: list[Postprocess] = [] if kinds is None else [kinds] if isinstance(kinds, str) else list(kinds)
    return [Postprocessing(name, codec, quality) for name in dict.fromkeys(names)]

"""What an adversarial clip goes through before anyone classifies it: eight bits, and a video codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advvid.data.round_trip import through_codec
from advvid.errors import AdvvidError

KINDS = ("uint8", "codec")


@dataclass(frozen=True)
class Survival:
    """A road that adversarial clips must survive; the attack does not know of it (DeepSAVA, sec. 4.4).

    Args:
        name: ``uint8`` rounds every value to 8 bits, as any video file does; ``codec`` encodes each clip as a video
            file does and decodes it again.
        codec: ``libx264``, ``mpeg4`` or, without loss, ``ffv1``.
        quality: constant rate factor of libx264, quantiser of mpeg4; None for 18 and 3.

    Example:
        >>> Survival("uint8")(torch.tensor(0.5).expand(1, 3, 1, 2, 2)).mul(255).unique()
        tensor([128.])
    """

    name: str = "uint8"
    codec: str = "libx264"
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.name not in KINDS:
            raise AdvvidError(f"survive={self.name!r} is not known: choose uint8, codec, or both as [uint8,codec]")

    def __call__(self, clips: Tensor) -> Tensor:
        """Return clips ``[B, 3, T, H, W]`` in [0, 1] as they arrive at the other end."""
        levels = clips.mul(255).round().clamp(0, 255).to(torch.uint8)
        if self.name == "codec":
            levels = through_codec(levels, self.codec, self.quality)
        return levels.to(clips.device).float().div_(255)


def survivals(kinds: str | Sequence[str] | None, codec: str, quality: int | None) -> list[Survival]:
    """Read the option ``survive``: None, a name, or several."""
    names = [] if kinds is None else [kinds] if isinstance(kinds, str) else list(kinds)
    return [Survival(str(name), codec, quality) for name in dict.fromkeys(names)]

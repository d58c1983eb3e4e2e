"""What an adversarial clip goes through before anyone classifies it: eight bits, and a video codec."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from advvid.data.encode import write_video
from advvid.errors import AdvvidError

KINDS = ("uint8", "codec")


@dataclass(frozen=True)
class Survival:
    """A road that adversarial clips must survive; the attack does not know of it (DeepSAVA, sec. 4.4).

    Args:
        name: ``uint8`` rounds every value to 8 bits, as any video file does; ``codec`` writes each clip to a video
            file and reads it back.
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
        if self.name == "codec" and len(levels):
            levels = torch.stack([through_file(clip, self.codec, self.quality) for clip in levels.cpu()])
        return levels.to(clips.device).float().div_(255)


def survivals(kinds: str | Sequence[str] | None, codec: str, quality: int | None) -> list[Survival]:
    """Read the option ``survive``: None, a name, or several."""
    names = [] if kinds is None else [kinds] if isinstance(kinds, str) else list(kinds)
    return [Survival(str(name), codec, quality) for name in dict.fromkeys(names)]


def through_file(clip: Tensor, codec: str, quality: int | None, rate: int = 25) -> Tensor:
    """Write a clip to a video file, read it back, and return what was read.

    Shape:
        clip: uint8 ``[3, T, H, W]`` on the CPU, H and W even but for ffv1; the result is alike.

    Raises:
        AdvvidError: if the codec cannot take such frames, or another number of frames comes back.
    """
    frames = clip.permute(1, 2, 3, 0).contiguous().numpy()
    with tempfile.TemporaryDirectory(prefix="advvid-") as folder:
        path = Path(folder) / "clip.mkv"
        write_video(path, frames, rate, codec, quality)
        with av.open(str(path)) as file:
            back = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    if len(back) != len(frames):
        raise AdvvidError(f"{codec} gave back {len(back)} of {len(frames)} frames: choose another evaluation.codec")
    return torch.from_numpy(np.stack(back)).permute(3, 0, 1, 2)

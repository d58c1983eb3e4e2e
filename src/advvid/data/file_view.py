"""How a data set turns a file that a user names into the clips that its models know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advvid.core.errors import AdvvidError
from advvid.data.decoders import FrameVideo

# The target of a clip whose class nobody told: the model's own clean prediction stands in for it.
UNKNOWN = -1


@dataclass(frozen=True)
class FileView:
    """How a data set turns one file into clips.

    A data set that can do so has a class method ``file_view(settings) -> FileView``, which takes the options of its
    configuration; the folder of its own videos need not be there.

    Args:
        frames: of a clip, T.
        step: from the number of frames of a file to the frames between those of a clip.
        size: side of the square frames.
        views: test clips of a video, one after the other along time.
        decoder: see ``advvid.data.decoders``.
        rests_on: everything else that the clips depend on, as plain values.
        clip: from a file to its test clip, uint8 ``[3, views * T, size, size]``.
        shown: from frames as they are decoded, uint8 ``[3, n, H, W]``, to how clips show them, uint8
            ``[3, n, size, size]``.
    """

    frames: int
    step: Callable[[int], int]
    size: int
    views: int
    decoder: str
    rests_on: tuple[Any, ...]
    clip: Callable[[Path], Tensor]
    shown: Callable[[Tensor], Tensor]

    def rate(self, path: Path) -> Fraction:
        """Return the frames per second of the clips of a file."""
        video = FrameVideo(path, self.decoder)
        return video.rate / self.step(video.frames)

    def length(self, path: Path) -> int:
        """Return how many frames a whole file has at the stride of the clips, at least one clip's."""
        frames = FrameVideo(path, self.decoder).frames
        return max(self.frames, -(-frames // self.step(frames)))

    def windows(self, path: Path, hop: int) -> Iterator[tuple[int, Tensor]]:
        """Yield a whole file as clips that begin ``hop`` frames apart, the last one at its end, one in memory at a time.

        Args:
            path: the file; a video shorter than a clip starts again at its end.
            hop: frames from one clip's beginning to the next one's, from 1 to ``frames``.

        Yields:
            The number of a clip's first frame, and the clip, uint8 ``[3, T, size, size]``.

        Raises:
            AdvvidError: if frames cannot be decoded.
        """
        video, last = FrameVideo(path, self.decoder), self.length(path) - self.frames
        step = self.step(video.frames)
        held, first = torch.empty(3, 0, self.size, self.size, dtype=torch.uint8), 0
        for start in [*range(0, last, hop), last]:
            held, first = held[:, start - first :], start
            wanted = range(start + held.shape[1], start + self.frames)
            try:
                decoded = self.shown(video.fetch([number * step for number in wanted]))
            except ValueError as error:
                raise AdvvidError(f"{path} cannot be decoded to its end ({error}): give a video that plays") from None
            held = torch.cat([held, decoded], dim=1)
            yield start, held

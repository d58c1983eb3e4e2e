"""How clips are cut from videos: their frames, size and places."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

from pytorchvideo.data.clip_sampling import ClipInfo, ClipSampler

# The stride that takes a clip's frames from the whole video.
SPREAD: Final = "spread"


class SpreadClips(ClipSampler):
    """Clips spread evenly over a video: a single one from its middle, several from its first to its last frame."""

    def __init__(self, clip_duration: Fraction, clips: int) -> None:
        super().__init__(clip_duration)
        self._clips, self._next = clips, 0

    def __call__(self, last_clip_time: float | None, video_duration: Fraction, annotation: dict[str, Any]) -> ClipInfo:
        """Return the next clip's start and end in seconds; see PyTorchVideo's ``ClipSampler``."""
        room = max(Fraction(video_duration) - self._clip_duration, Fraction(0))
        start = room / 2 if self._clips == 1 else room * Fraction(self._next, self._clips - 1)
        index, self._next = self._next, (self._next + 1) % self._clips
        return ClipInfo(start, start + self._clip_duration, index, 0, self._next == 0)


class SpreadFrames(ClipSampler):
    """One clip over a whole video, from its first frame: the same in training and in testing (``dataset.stride=spread``)."""

    def __call__(self, last_clip_time: float | None, video_duration: Fraction, annotation: dict[str, Any]) -> ClipInfo:
        """Return the clip's start and end in seconds; see PyTorchVideo's ``ClipSampler``."""
        return ClipInfo(Fraction(0), Fraction(self._clip_duration), 0, 0, True)


@dataclass(frozen=True)
class Cut:
    """How clips are cut from videos.

    Args:
        frames: of a clip.
        stride: between them, at the video's own rate; a short video starts again at its end. ``spread`` takes the frames
            from the whole video, see ``step``.
        size: side of the square clip.
        short_side: to which frames are resized before the crop.
        flip: probability of a mirrored training clip.
        scale: range of a random resized crop's area in training, None for a random crop of the resized frame.
        views: clips per video in testing.
        decoder: see ``advvid.data.decoders``.
    """

    frames: int
    stride: int | Literal["spread"]
    size: int
    short_side: int
    flip: float
    scale: tuple[float, float] | None
    views: int
    decoder: str

    def step(self, length: int) -> int:
        """Return the frames from one frame of a clip to the next in a video of so many frames.

        ``spread`` takes ``length // frames``, at least 1 (the code of Lo & Patel: 40 frames from the first one on).

        Example:
            >>> cut = Cut(40, "spread", 112, 112, 0.5, None, 1, "decord")
            >>> cut.step(200), cut.step(119), cut.step(30)
            (5, 2, 1)
        """
        return max(1, length // self.frames) if self.stride == SPREAD else int(self.stride)

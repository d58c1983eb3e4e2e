"""A split of video files: clips cut, resized and cropped as they are asked for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from pytorchvideo.data.clip_sampling import ClipInfo, ClipSampler, RandomClipSampler
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from advvid.data.decoders import FrameVideo
from advvid.data.lists import Entry
from advvid.errors import AdvvidError


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


@dataclass(frozen=True)
class Cut:
    """How clips are cut from videos.

    Args:
        frames: of a clip.
        stride: between them, at the video's own rate; a short video starts again at its end.
        size: side of the square clip.
        short_side: to which frames are resized before the crop.
        flip: probability of a mirrored training clip.
        scale: range of a random resized crop's area in training, None for a random crop of the resized frame.
        views: clips per video in testing.
        decoder: see ``advvid.data.decoders``.
    """

    frames: int
    stride: int
    size: int
    short_side: int
    flip: float
    scale: tuple[float, float] | None
    views: int
    decoder: str


class VideoClips(Dataset[tuple[Tensor, int, str]]):
    """The videos of a split; see ``advvid.data.loader.Clips`` for how items are asked for.

    Args:
        root: the folder that the entries' paths start from.
        entries: videos and labels.
        cut: how clips are cut.
    """

    def __init__(self, root: Path, entries: Sequence[Entry], cut: Cut) -> None:
        self.root, self.entries, self.cut = root, list(entries), cut
        self.ids, self.targets = [e.id for e in self.entries], [e.label for e in self.entries]
        resize = v2.Resize(cut.short_side, antialias=True)
        crop = (
            v2.RandomCrop(cut.size) if cut.scale is None else v2.RandomResizedCrop(cut.size, cut.scale, antialias=True)
        )
        self._train = v2.Compose([*([resize] if cut.scale is None else []), crop, v2.RandomHorizontalFlip(cut.flip)])
        self._test = v2.Compose([resize, v2.CenterCrop(cut.size)])

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, int, str]:
        """Return (clip uint8 ``[3, views * T, size, size]``, label, id).

        Raises:
            AdvvidError: if the video cannot be decoded after all.
        """
        index, draw = key if isinstance(key, tuple) else (key, None)
        entry = self.entries[index]
        try:
            video = FrameVideo(self.root / entry.path, self.cut.decoder, self.cut.stride)
            clip = self._random(video, draw) if draw is not None else self._spread(video)
        except ValueError as error:
            raise AdvvidError(
                f"the video {self.root / entry.path} cannot be decoded ({error}): replace it or set dataset.on_error=skip"
            ) from None
        return clip.contiguous(), entry.label, entry.id

    def _duration(self, video: FrameVideo) -> Fraction:
        return Fraction(self.cut.frames * self.cut.stride) / video.rate

    def _frames(self, video: FrameVideo, starts: Sequence[Fraction | float]) -> Tensor:
        """Return the frames of clips ``[n * T, 3, H, W]``, the form that torchvision's transforms take.

        All are fetched at once, since some files can only be decoded from their start.
        """
        firsts = [round(start * video.rate) for start in starts]
        wanted = [first + i * self.cut.stride for first in firsts for i in range(self.cut.frames)]
        return video.fetch(wanted).transpose(0, 1)

    def _random(self, video: FrameVideo, draw: int) -> Tensor:
        sampler, state = RandomClipSampler(self._duration(video)), random.getstate()
        # PyTorchVideo and torchvision draw from global generators: seed them for this clip, and put them back.
        random.seed(draw)
        start = sampler(None, video.frames / video.rate, {}).clip_start_sec
        random.setstate(state)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draw)
            return self._train(self._frames(video, [start])).transpose(0, 1)

    def _spread(self, video: FrameVideo) -> Tensor:
        sampler = SpreadClips(self._duration(video), self.cut.views)
        starts = [sampler(None, video.frames / video.rate, {}).clip_start_sec for _ in range(self.cut.views)]
        return self._test(self._frames(video, starts)).transpose(0, 1)

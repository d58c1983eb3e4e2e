"""A split of video files: clips cut, resized and cropped as they are asked for."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pytorchvideo.data.clip_sampling import ClipInfo, ClipSampler, RandomClipSampler
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from advvid.core.digests import of_values
from advvid.core.errors import AdvvidError
from advvid.data.cache import DamagedError, FrameCache, Stored
from advvid.data.content import of_videos, with_version
from advvid.data.decoders import ON_GPU, FrameVideo
from advvid.data.lists import Entry

# The stride that takes a clip's frames from the whole video.
SPREAD: Final = "spread"

# Frames that are decoded at once where a whole video is: full-sized ones are megabytes.
CHUNK = 16
# Videos by which the size of all of them is judged.
JUDGED = 5


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


class VideoClips(Dataset[tuple[Tensor, int, str]]):
    """The videos of a split; see ``advvid.data.loader.Clips`` for how items are asked for.

    Args:
        root: the folder that the entries' paths start from.
        entries: videos and labels.
        cut: how clips are cut.
        cache: where decoded frames are kept; the clips are the same bit for bit with and without it.
        readers: the decoder of each video by ``Entry.key``, where ``auto`` chose one; None for ``cut.decoder``.
    """

    def __init__(
        self, root: Path, entries: Sequence[Entry], cut: Cut, cache: FrameCache | None = None,
        readers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.root, self.entries, self.cut, self.readers = root, list(entries), cut, readers or {}
        self.ids, self.targets = [e.id for e in self.entries], [e.label for e in self.entries]
        self.cache = cache
        self._resize = v2.Resize(cut.short_side, antialias=True)
        crop = (
            v2.RandomCrop(cut.size) if cut.scale is None else v2.RandomResizedCrop(cut.size, cut.scale, antialias=True)
        )
        self._train = v2.Compose(
            [*([self._resize] if cut.scale is None else []), crop, v2.RandomHorizontalFlip(cut.flip)]
        )
        self._test = v2.Compose([self._resize, v2.CenterCrop(cut.size)])

    def __len__(self) -> int:
        return len(self.entries)

    def digests(self) -> list[str]:
        """Return the content of each file with how testing cuts it; see ``advvid.data.content.clip_digests``."""
        cut = self.cut
        paths = [self.root / entry.path for entry in self.entries]
        found = of_videos(paths, cut.decoder, cut.frames, cut.stride, cut.size, cut.short_side, cut.views)
        # Of the decoders that auto chooses from, the GPU's gives other bits.
        own = [
            [*filter(None, [entry.part]), *([ON_GPU] if cut.decoder != self._decoder(entry) == ON_GPU else [])]
            for entry in self.entries
        ]
        return [of_values(digest, *more) if more else digest for digest, more in zip(found, own, strict=True)]

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, int, str]:
        """Return (clip uint8 ``[3, views * T, size, size]``, label, id).

        Raises:
            AdvvidError: if the video cannot be decoded after all.
        """
        index, draw = key if isinstance(key, tuple) else (key, None)
        entry = self.entries[index]
        try:
            try:
                clip = self._clip(entry, draw, self.cache)
            except DamagedError as error:
                if self.cache is not None:
                    self.cache.drop(error.file)
                clip = self._clip(entry, draw, None)
        except ValueError as error:
            raise AdvvidError(
                f"the video {self.root / entry.path}{entry.part} cannot be decoded ({error}): replace it or set dataset.on_error=skip"
            ) from None
        return clip.contiguous(), entry.label, entry.id

    def _clip(self, entry: Entry, draw: int | None, cache: FrameCache | None) -> Tensor:
        if draw is not None:
            return self._random(self._open(entry) if cache is None else self._whole(entry, cache), draw)
        if cache is None:
            return self._spread(self._open(entry))
        cut, path = self.cut, self.root / entry.path
        how = self._how(entry) | {"test": [cut.frames, cut.stride, cut.size, cut.short_side, cut.views]}
        stored = cache.find(path, how)
        if stored is not None:
            return stored.fetch(range(stored.frames))
        video = self._open(entry)
        clip = self._spread(video)
        cache.keep(path, how, clip.shape[1], video.rate, [clip.permute(1, 2, 3, 0)])
        return clip

    def _open(self, entry: Entry) -> FrameVideo:
        return FrameVideo(self.root / entry.path, self._decoder(entry), start=entry.start, end=entry.end)

    def _decoder(self, entry: Entry) -> str:
        return self.readers.get(entry.key, self.cut.decoder)

    def shown(self, frames: Tensor) -> Tensor:
        """Return decoded frames ``[3, n, H, W]`` as testing shows them: resized, their middle cut out."""
        cut: Tensor = self._test(frames.transpose(0, 1))
        return cut.transpose(0, 1).contiguous()

    def read_by(self) -> dict[str, int]:
        """Return how many of the videos each decoder reads, named with its package and version.

        Example:
            >>> data.split("test").read_by()                             # doctest: +SKIP
            {'decord (decord2 3.4.0)': 170}
        """
        return dict(Counter(with_version(self._decoder(entry)) for entry in self.entries))

    def _how(self, entry: Entry) -> dict[str, Any]:
        """Return what the frames of an entry depend on besides its file, for the cache."""
        return {"decoder": self._decoder(entry)} | ({"part": entry.part} if entry.part else {})

    def _whole(self, entry: Entry, cache: FrameCache) -> FrameVideo | Stored:
        """Return a video from the cache, where need be after putting it there; as it is where there is no room.

        Random clips need all its frames. They are kept as they are before the first random step: resized to the short
        side, or at full size where a random part is cut out of the full frame (``scale``).
        """
        resize = v2.Identity() if self.cut.scale is not None else self._resize
        how = self._how(entry) | {"short_side": None if self.cut.scale is not None else self.cut.short_side}
        path = self.root / entry.path
        stored = cache.find(path, how)
        if stored is None and cache.whole and not cache.full:
            video = self._open(entry)
            parts = (
                resize(video.fetch(range(i, min(i + CHUNK, video.frames))).transpose(0, 1)).permute(0, 2, 3, 1)
                for i in range(0, video.frames, CHUNK)
            )
            stored = cache.keep(path, how, video.frames, video.rate, parts)
        return stored or self._open(entry)

    def kept(self, whole: bool) -> float:
        """Return about how many bytes a cache keeps of the split, judged by a few of its videos.

        Args:
            whole: all frames of each video, as for training; else the clips that are scored.
        """
        cut = self.cut
        if not whole:
            return float(len(self) * 3 * cut.views * cut.frames * cut.size**2)
        found = []
        for entry in self.entries[:: max(1, len(self) // JUDGED)]:
            try:
                video = self._open(entry)
                frame = video.fetch([0])
            except (ValueError, OSError):
                continue  # whoever asks for its clip hears of it
            shown = frame if cut.scale is not None else self._resize(frame.transpose(0, 1))
            found.append(video.frames * shown.numel())
        return len(self) * sum(found) / max(1, len(found))

    def _duration(self, video: FrameVideo | Stored) -> Fraction:
        return Fraction(self.cut.frames * self.cut.step(video.frames)) / video.rate

    def _frames(self, video: FrameVideo | Stored, starts: Sequence[Fraction | float]) -> Tensor:
        """Return the frames of clips ``[n * T, 3, H, W]``, the form that torchvision's transforms take.

        All are fetched at once, since some files can only be decoded from their start.
        """
        firsts, step = [round(start * video.rate) for start in starts], self.cut.step(video.frames)
        wanted = [first + i * step for first in firsts for i in range(self.cut.frames)]
        return video.fetch(wanted).transpose(0, 1)

    def _random(self, video: FrameVideo | Stored, draw: int) -> Tensor:
        kind = SpreadFrames if self.cut.stride == SPREAD else RandomClipSampler
        sampler, state = kind(self._duration(video)), random.getstate()
        # PyTorchVideo and torchvision draw from global generators: seed them for this clip, and put them back.
        random.seed(draw)
        start = sampler(None, video.frames / video.rate, {}).clip_start_sec
        random.setstate(state)
        frames, drawn = self._frames(video, [start]), torch.get_rng_state()
        try:
            # Not torch.manual_seed: it also reaches for accelerators, which takes longer than resizing the clip.
            torch.default_generator.manual_seed(draw)
            return self._train(frames).transpose(0, 1)
        finally:
            torch.set_rng_state(drawn)

    def _spread(self, video: FrameVideo) -> Tensor:
        length = self._duration(video)
        sampler = SpreadFrames(length) if self.cut.stride == SPREAD else SpreadClips(length, self.cut.views)
        starts = [sampler(None, video.frames / video.rate, {}).clip_start_sec for _ in range(self.cut.views)]
        return self._test(self._frames(video, starts)).transpose(0, 1)

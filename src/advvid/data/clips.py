"""A split of video files: clips cut, resized and cropped as they are asked for."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from pytorchvideo.data.clip_sampling import RandomClipSampler
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from advvid.core.digests import of_values
from advvid.core.errors import AdvvidError
from advvid.data.cache import DamagedError, FrameCache, Stored
from advvid.data.coming import Coming
from advvid.data.content import of_videos, with_version
from advvid.data.cut import SPREAD, Cut, SpreadClips, SpreadFrames
from advvid.data.decoders import ON_GPU, FrameVideo
from advvid.data.lists import Entry

# Frames that are decoded at once where a whole video is: full-sized ones are megabytes.
CHUNK = 16
# Videos by which the size of all of them is judged.
JUDGED = 5


class VideoClips(Dataset[tuple[Tensor, int, str]]):
    """The videos of a split; see ``advvid.data.loader.Clips`` for how items are asked for.

    Args:
        root: the folder that the entries' paths start from.
        entries: videos and labels.
        cut: how clips are cut.
        cache: where decoded frames are kept; the clips are the same bit for bit with and without it.
        readers: the decoder of each video by ``Entry.key``, where ``auto`` chose one; None for ``cut.decoder``.
        coming: the training that will ask for random clips; a cache that does not take whole videos keeps those.
    """

    def __init__(
        self, root: Path, entries: Sequence[Entry], cut: Cut, cache: FrameCache | None = None,
        readers: Mapping[str, str] | None = None, coming: Coming | None = None,
    ) -> None:  # fmt: skip
        self.root, self.entries, self.cut, self.readers = root, list(entries), cut, readers or {}
        self.ids, self.targets = [e.id for e in self.entries], [e.label for e in self.entries]
        self.cache, self.coming = cache, coming or Coming()
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
        clip = self._read(self._clip, index) if draw is None else self.varied(self.uncut(index, draw), draw)
        return clip.contiguous(), self.targets[index], self.ids[index]

    def uncut(self, index: int, draw: int) -> Tensor:
        """Return the frames of a random clip before they are resized and cropped, uint8 ``[T, 3, H, W]``.

        Raises:
            AdvvidError: if the video cannot be decoded after all.
        """
        return self._read(self._uncut, index, draw)

    def _read(self, read: Callable[..., Tensor], index: int, *draw: int) -> Tensor:
        """Read with the cache, or without it where what it holds is damaged."""
        entry = self.entries[index]
        try:
            try:
                return read(index, *draw, self.cache)
            except DamagedError as error:
                if self.cache is not None:
                    self.cache.drop(error.file)
                return read(index, *draw, None)
        except ValueError as error:
            raise AdvvidError(
                f"the video {self.root / entry.path}{entry.part} cannot be decoded ({error}): replace it or set dataset.on_error=skip"
            ) from None

    def _uncut(self, index: int, draw: int, cache: FrameCache | None) -> Tensor:
        entry = self.entries[index]
        frames = None if cache is None else self._foreseen(index, draw, cache)
        if frames is None:
            video = self._open(entry) if cache is None else self._whole(entry, cache)
            frames = self._frames(video, [self._start(video, draw)])
        return frames

    def _clip(self, index: int, cache: FrameCache | None) -> Tensor:
        entry = self.entries[index]
        if cache is None:
            return self._spread(self._open(entry))
        stored = cache.find(self.root / entry.path, self._how_scored(entry))
        if stored is not None:
            return stored.fetch(range(stored.frames))
        video = self._open(entry)
        clip = self._spread(video)
        self._keep_scored(entry, clip, video.rate, cache)
        return clip

    def _keep_scored(self, entry: Entry, clip: Tensor, rate: Fraction, cache: FrameCache) -> None:
        how = self._how_scored(entry)
        cache.keep(self.root / entry.path, how, clip.shape[1], rate, [clip.permute(1, 2, 3, 0)])

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

    def _how_scored(self, entry: Entry) -> dict[str, Any]:
        cut = self.cut
        return self._how(entry) | {"test": [cut.frames, cut.stride, cut.size, cut.short_side, cut.views]}

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

    def _foreseen(self, index: int, draw: int, cache: FrameCache) -> Tensor | None:
        """Return the frames of a random clip, resized, which the cache keeps with those of the other epochs.

        One walk over the video gives them all, and the clip that is scored. None where whole videos are kept, where this clip
        was not to be foreseen, and where there is no room.
        """
        cut, draws, entry = self.cut, self.coming.draws(index), self.entries[index]
        if cache.whole or cut.scale is not None or len(draws) < 2 or draw not in draws:
            return None
        path = self.root / entry.path
        how = self._how(entry) | {"train": [cut.frames, cut.stride, cut.short_side, *draws]}
        stored = cache.find(path, how)
        if stored is None and not cache.full:
            video = self._open(entry)
            starts = [self._start(video, each) for each in draws]
            scored = self._starts(video) if index < self.coming.scored else []
            wanted = self._wanted(video, [*starts, *scored])
            known: dict[int, Tensor] = {}
            apart = sorted({number % video.frames for number in wanted})
            for i in range(0, len(apart), CHUNK):
                numbers = apart[i : i + CHUNK]
                known |= dict(zip(numbers, self._resize(video.fetch(numbers).transpose(0, 1)), strict=True))
            frames = [known[number % video.frames] for number in wanted]
            count = len(draws) * cut.frames
            parts = (frame.permute(1, 2, 0)[None] for frame in frames[:count])
            stored = cache.keep(path, how, count, video.rate, parts)
            if scored:
                self._keep_scored(entry, self._test(torch.stack(frames[count:])).transpose(0, 1), video.rate, cache)
        if stored is None:
            return None
        first = draws.index(draw) * cut.frames
        return stored.fetch(range(first, first + cut.frames)).transpose(0, 1)

    def kept(self, whole: bool | int) -> float:
        """Return about how many bytes a cache keeps of the split, judged by a few of its videos.

        Args:
            whole: all frames of each video, as for long trainings; or the random clips of so many epochs; or, where false
                or 0, the clips that are scored.
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
            found.append((video.frames if whole is True else whole * cut.frames) * shown.numel())
        return len(self) * sum(found) / max(1, len(found))

    def _duration(self, video: FrameVideo | Stored) -> Fraction:
        return Fraction(self.cut.frames * self.cut.step(video.frames)) / video.rate

    def _frames(self, video: FrameVideo | Stored, starts: Sequence[Fraction | float]) -> Tensor:
        """Return the frames of clips ``[n * T, 3, H, W]``, the form that torchvision's transforms take.

        All are fetched at once, since some files can only be decoded from their start.
        """
        return video.fetch(self._wanted(video, starts)).transpose(0, 1)

    def _wanted(self, video: FrameVideo | Stored, starts: Sequence[Fraction | float]) -> list[int]:
        """Return the numbers of the frames of clips; beyond the end the video starts again."""
        firsts, step = [round(start * video.rate) for start in starts], self.cut.step(video.frames)
        return [first + i * step for first in firsts for i in range(self.cut.frames)]

    def _start(self, video: FrameVideo | Stored, draw: int) -> Fraction | float:
        """Return where a random clip begins, in seconds."""
        kind = SpreadFrames if self.cut.stride == SPREAD else RandomClipSampler
        sampler, state = kind(self._duration(video)), random.getstate()
        # PyTorchVideo and torchvision draw from global generators: seed them for this clip, and put them back.
        random.seed(draw)
        try:
            return sampler(None, video.frames / video.rate, {}).clip_start_sec
        finally:
            random.setstate(state)

    def varied(self, frames: Tensor, draw: int) -> Tensor:
        """Return the frames of a training clip ``[T, 3, H, W]`` resized, cropped and mirrored at random, ``[3, T, size, size]``.

        Args:
            frames: uint8, on any device; the numbers are drawn on the CPU.
            draw: the seed.
        """
        drawn = torch.get_rng_state()
        try:
            # Not torch.manual_seed: it also reaches for accelerators, which takes longer than resizing the clip.
            torch.default_generator.manual_seed(draw)
            return self._train(frames).transpose(0, 1)
        finally:
            torch.set_rng_state(drawn)

    def _spread(self, video: FrameVideo) -> Tensor:
        return self._test(self._frames(video, self._starts(video))).transpose(0, 1)

    def _starts(self, video: FrameVideo) -> list[Fraction | float]:
        """Return where the clips begin that are scored, in seconds."""
        length = self._duration(video)
        sampler = SpreadFrames(length) if self.cut.stride == SPREAD else SpreadClips(length, self.cut.views)
        return [sampler(None, video.frames / video.rate, {}).clip_start_sec for _ in range(self.cut.views)]

"""Fetching only the frames that a clip needs, as bytes, with the decoder of choice."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from pytorchvideo.data.video import Video
from torch import Tensor

from advvid.core.allowed import require
from advvid.core.errors import AdvvidError
from advvid.data.pyav_reader import PyAVReader, first_line, rotation, times_are_guessed

Decoder = Literal["decord", "pyav", "torchcodec", "torchcodec_gpu", "auto"]
ON_GPU = "torchcodec_gpu"
# What decord says of frames that it decoded in another size than it made room for.
NOT_HANDED_OVER = "from_size == to_size"
# How many frames at the end a container may promise and not hold.
TAIL = 5


class Reader(Protocol):
    """An open video."""

    frames: int
    rate: float

    def get(self, indices: Sequence[int]) -> Tensor:
        """Return frames as uint8 ``[n, H, W, 3]``, given rising numbers.

        Raises:
            ValueError: where one cannot be decoded.
        """


class DecordReader:
    """Seeks to what is asked for and decodes from the key frame before it, where the file allows it.

    In an .avi whose B-frames are packed two to a packet (all of HMDB51, much of UT-Interaction) the times of the frames
    do not grow, and decord, which seeks by them, returns other frames than were asked for, without an error: up to 20
    frames away, and others again once it has read something. Such files are decoded from their start by PyAV, which
    gives the very bytes that decord does when it walks the file, in half the time. So are files that have to be
    turned by a quarter, and tiny ones, whose frames decord decodes but cannot hand over.
    """

    def __init__(self, path: Path) -> None:
        import decord

        self._path = path
        # Its complaints come as exceptions too; printed from C they would tear the progress bar.
        decord.logging.set_level(decord.logging.QUIET)
        self._errors = (decord.DECORDError, RuntimeError)
        try:
            self._video = decord.VideoReader(str(path), num_threads=1)
            self.frames, self.rate = len(self._video), float(self._video.get_avg_fps())
            starts = self._video.get_frame_timestamp(range(self.frames))[:, 0]
        except self._errors as error:
            raise ValueError(first_line(error)) from None
        self._walk = None if bool((np.diff(starts) > 0).all()) else PyAVReader(path)

    def get(self, indices: Sequence[int]) -> Tensor:
        """See ``Reader.get``."""
        if self._walk is not None:
            return self._walk.get(indices)
        try:
            return torch.from_numpy(self._video.get_batch(list(indices)).asnumpy())
        except self._errors as error:
            if NOT_HANDED_OVER not in str(error):
                raise ValueError(first_line(error)) from None
        self._walk = PyAVReader(self._path)
        return self._walk.get(indices)


class TorchcodecReader:
    """Uses torchcodec, where it and FFmpeg are installed.

    Files whose frames have no true times, or have to be turned, are left to PyAV.

    Args:
        path: of the video.
        device: ``cuda`` decodes on the GPU's own hardware, whose colours are not those of a CPU to the last bit. Frames come to
            the host all the same, where clips are cut, kept and shuffled.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        from torchcodec.decoders import VideoDecoder

        self._walk = PyAVReader(path) if times_are_guessed(path) or rotation(path) else None
        if self._walk is not None:
            self.frames, self.rate = self._walk.frames, self._walk.rate
            return
        try:
            self._video = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1, device=device)
        except (RuntimeError, ValueError) as error:
            raise ValueError(first_line(error)) from None
        self.frames, self.rate = len(self._video), float(self._video.metadata.average_fps or 25)

    def get(self, indices: Sequence[int]) -> Tensor:
        """See ``Reader.get``."""
        if self._walk is not None:
            return self._walk.get(indices)
        try:
            frames: Tensor = self._video.get_frames_at(list(indices)).data.cpu()
        except (RuntimeError, IndexError) as error:
            raise ValueError(first_line(error)) from None
        return frames


def check_decoder(name: str) -> None:
    """Refuse an unknown decoder, or one that is not installed.

    Raises:
        AdvvidError: naming the remedy.
    """
    require(name, Decoder, "dataset.decoder")
    if name in ("torchcodec", ON_GPU) and not _has_torchcodec():
        raise AdvvidError(
            f"dataset.decoder={name} needs the package torchcodec and FFmpeg's libraries: install both, or choose "
            "dataset.decoder=decord"
        )
    if name == ON_GPU and not torch.cuda.is_available():
        raise AdvvidError(
            f"dataset.decoder={name} decodes on a GPU, and PyTorch sees none: choose dataset.decoder=auto"
        )


@cache
def _has_torchcodec() -> bool:
    try:
        # Importing it tries to load FFmpeg's libraries, which the wheel does not bring.
        return importlib.util.find_spec("torchcodec") is not None and bool(
            importlib.import_module("torchcodec.decoders")
        )
    except (ImportError, RuntimeError, OSError):
        return False


READERS: dict[str, Callable[[Path], Reader]] = {
    "torchcodec": TorchcodecReader,
    ON_GPU: partial(TorchcodecReader, device="cuda"),
    "decord": DecordReader,
    "pyav": PyAVReader,
}


def candidates(decoder: str, hardware: bool = False) -> list[str]:
    """Return the decoders that a setting stands for, in the order in which they are tried.

    Args:
        decoder: a setting.
        hardware: let ``auto`` try the GPU's own decoder first, where there is one.

    Example:
        >>> candidates("pyav")
        ['pyav']
    """
    found = [name for name in READERS if name != ON_GPU and (name != "torchcodec" or _has_torchcodec())]
    first = [ON_GPU] if hardware and decodes_on_gpu() else []
    return first + found if decoder == "auto" else [decoder]


def decodes_on_gpu() -> bool:
    """Tell whether this machine has what ``torchcodec_gpu`` needs."""
    return _has_torchcodec() and torch.cuda.is_available()


def open_reader(path: Path, decoder: str) -> Reader:
    """Open a video; ``auto`` takes the first decoder that reads its first frame.

    Raises:
        ValueError: if it cannot be read; the message says why.
    """
    names, problem = candidates(decoder), ValueError()
    for name in names:
        try:
            reader = READERS[name](path)
            if len(names) > 1:
                reader.get([0])
            return reader
        except ValueError as error:
            problem = error
    raise problem


class FrameVideo(Video):
    """A video of PyTorchVideo's interface that decodes only the frames it is asked for, as uint8.

    Args:
        path: the file.
        decoder: ``decord``, ``pyav``, ``torchcodec``, ``torchcodec_gpu``, or ``auto`` for the first that reads the file.
        stride: between the frames of a clip, at the video's own rate.
        start: where the part that counts begins, in seconds; None for the beginning.
        end: where it ends; None for the end of the video, which also ends a part that is longer.

    Raises:
        ValueError: if the file cannot be read, or the part holds no frame.
    """

    def __init__(
        self, path: Path, decoder: str = "decord", stride: int = 1, start: float | None = None, end: float | None = None
    ) -> None:
        self.path, self.stride = path, stride
        self.reader = open_reader(path, decoder)
        if self.reader.frames < 1:
            raise ValueError("it holds no frame")
        total = self.reader.frames
        self._first = 0 if start is None else round(Fraction(start) * self.rate)
        self._end = total if end is None else min(total, round(Fraction(end) * self.rate))
        if self.frames < 1:
            raise ValueError(
                f"it has no frame from {start or 0:g} s to {'its end' if end is None else f'{end:g} s'}: it is "
                f"{float(total / self.rate):.4g} s long"
            )

    @property
    def frames(self) -> int:
        """Number of frames that the container promises in the part that counts."""
        return self._end - self._first

    @property
    def duration(self) -> Fraction:
        """Length in seconds, exact enough to count frames."""
        return Fraction(self.frames) / self.rate

    @property
    def rate(self) -> Fraction:
        """Frames per second."""
        return Fraction(self.reader.rate or 25).limit_denominator(100_000)

    def get_clip(self, start_sec: float | Fraction, end_sec: float | Fraction) -> dict[str, Any]:
        """Return ``{"video": uint8 [3, n, H, W], "audio": None}``: every ``stride``-th frame of the interval."""
        first, last = round(Fraction(start_sec) * self.rate), round(Fraction(end_sec) * self.rate)
        return {"video": self.fetch(range(first, max(last, first + 1), self.stride)), "audio": None}

    def fetch(self, indices: Sequence[int]) -> Tensor:
        """Return frames ``[3, n, H, W]``; beyond the end the video starts again.

        A few frames at the end that the container promises but does not hold are replaced by the last one that is
        there.

        Raises:
            ValueError: if frames cannot be decoded.
        """
        looped = [self._first + i % self.frames for i in indices]
        unique, last = sorted(set(looped)), self.reader.frames - 1
        problem = ValueError("no frame left")
        for cut in range(TAIL + 1):
            try:
                clamped = [min(i, last - cut) for i in unique]
                if clamped[0] < 0:
                    break
                decoded = self.reader.get(sorted(set(clamped)))
            except ValueError as error:
                problem = error
                continue
            place = {i: position for position, i in enumerate(sorted(set(clamped)))}
            order = [place[min(i, last - cut)] for i in looped]
            # Frames of a full-sized video are megabytes: they are copied only where some appear twice or elsewhere.
            ordered = decoded if order == list(range(len(decoded))) else decoded[order]
            return ordered.permute(3, 0, 1, 2)
        raise ValueError(f"frames {unique[0]} to {unique[-1]} cannot be decoded ({problem})")

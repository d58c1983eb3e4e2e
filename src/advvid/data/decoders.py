"""Fetching only the frames that a clip needs, as bytes, with the decoder of choice."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import torch
from pytorchvideo.data.video import Video
from torch import Tensor

from advvid.errors import AdvvidError

DECODERS = ("decord", "pyav", "torchcodec")
# How many frames at the end a container may promise and not hold.
TAIL = 5


class Reader(Protocol):
    """An open video."""

    frames: int
    rate: float

    def get(self, indices: Sequence[int]) -> Tensor:
        """Return frames as uint8 ``[n, H, W, 3]``; raises ``ValueError`` where one cannot be decoded."""


class DecordReader:
    """Seeks to what is asked for and decodes from the key frame before it, where the file allows it.

    In an .avi whose B-frames are packed two to a packet (all of HMDB51, much of UT-Interaction) the times of the frames
    do not grow, and decord, which seeks by them, returns other frames than were asked for, without an error: up to 20
    frames away, and others again once it has read something. Such files are decoded from their start.
    """

    def __init__(self, path: Path) -> None:
        import decord

        # Its complaints come as exceptions too; printed from C they would tear the progress bar.
        decord.logging.set_level(decord.logging.QUIET)
        self._errors = (decord.DECORDError, RuntimeError)
        try:
            self._video = decord.VideoReader(str(path), num_threads=1)
            self.frames, self.rate = len(self._video), float(self._video.get_avg_fps())
            starts = self._video.get_frame_timestamp(range(self.frames))[:, 0]
        except self._errors as error:
            raise ValueError(_first_line(error)) from None
        self._ordered = bool((np.diff(starts) > 0).all())
        self._read: Callable[[], Any] = lambda: decord.VideoReader(str(path), num_threads=1)

    def get(self, indices: Sequence[int]) -> Tensor:
        """See ``Reader.get``."""
        try:
            if self._ordered:
                return torch.from_numpy(self._video.get_batch(list(indices)).asnumpy())
            return self._from_start(indices)
        except self._errors as error:
            raise ValueError(_first_line(error)) from None

    def _from_start(self, indices: Sequence[int]) -> Tensor:
        video, wanted, found = self._read(), set(indices), {}
        for i in range(max(indices) + 1):
            try:
                frame = video.next()
            except StopIteration:
                raise ValueError(f"frame {i} is not there") from None
            if i in wanted:
                found[i] = frame.asnumpy()
        return torch.from_numpy(np.stack([found[i] for i in indices]))


class PyAVReader:
    """Decodes from the start up to the last frame asked for; slower, and the reference for the others."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with av.open(str(path), metadata_errors="ignore") as container:
                stream = container.streams.video[0]
                self.rate = float(stream.average_rate or 25)
                self.frames = sum(1 for packet in container.demux(stream) if packet.size)
        except (av.FFmpegError, IndexError) as error:
            raise ValueError(_first_line(error)) from None

    def get(self, indices: Sequence[int]) -> Tensor:
        """See ``Reader.get``."""
        wanted, found = set(indices), {}
        try:
            with av.open(str(self._path), metadata_errors="ignore") as container:
                for i, frame in enumerate(container.decode(video=0)):
                    if i in wanted:
                        found[i] = frame.to_ndarray(format="rgb24")
                    if len(found) == len(wanted):
                        break
        except av.FFmpegError as error:
            raise ValueError(_first_line(error)) from None
        if len(found) < len(wanted):
            raise ValueError(f"frame {max(wanted)} is not there")
        return torch.from_numpy(np.stack([found[i] for i in indices]))


class TorchcodecReader:
    """Uses torchcodec, where it and FFmpeg are installed."""

    def __init__(self, path: Path) -> None:
        from torchcodec.decoders import VideoDecoder

        try:
            self._video = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
        except (RuntimeError, ValueError) as error:
            raise ValueError(_first_line(error)) from None
        self.frames, self.rate = len(self._video), float(self._video.metadata.average_fps or 25)

    def get(self, indices: Sequence[int]) -> Tensor:
        """See ``Reader.get``."""
        try:
            return self._video.get_frames_at(list(indices)).data
        except (RuntimeError, IndexError) as error:
            raise ValueError(_first_line(error)) from None


def check_decoder(name: str) -> None:
    """Refuse an unknown decoder, or one that is not installed.

    Raises:
        AdvvidError: naming the remedy.
    """
    if name not in DECODERS:
        raise AdvvidError(f"dataset.decoder={name!r} is not known: choose one of {', '.join(DECODERS)}")
    if name == "torchcodec":
        try:
            # Importing it tries to load FFmpeg's libraries, which the wheel does not bring.
            found = importlib.util.find_spec("torchcodec") is not None and importlib.import_module(
                "torchcodec.decoders"
            )
        except (ImportError, RuntimeError, OSError):
            found = False
        if not found:
            raise AdvvidError(
                "dataset.decoder=torchcodec needs the package torchcodec and FFmpeg's libraries: install both, or choose "
                "dataset.decoder=decord"
            )


def open_reader(path: Path, decoder: str) -> Reader:
    """Open a video.

    Raises:
        ValueError: if it cannot be read; the message says why.
    """
    readers: dict[str, Callable[[Path], Reader]] = {
        "decord": DecordReader, "pyav": PyAVReader, "torchcodec": TorchcodecReader,
    }  # fmt: skip
    return readers[decoder](path)


class FrameVideo(Video):
    """A video of PyTorchVideo's interface that decodes only the frames it is asked for, as uint8.

    Args:
        path: the file.
        decoder: ``decord``, ``pyav`` or ``torchcodec``.
        stride: between the frames of a clip, at the video's own rate.

    Raises:
        ValueError: if the file cannot be read.
    """

    def __init__(self, path: Path, decoder: str = "decord", stride: int = 1) -> None:
        self.path, self.stride = path, stride
        self._reader = open_reader(path, decoder)
        if self._reader.frames < 1:
            raise ValueError("it holds no frame")

    @property
    def frames(self) -> int:
        """Number of frames that the container promises."""
        return self._reader.frames

    @property
    def duration(self) -> Fraction:
        """Length in seconds, exact enough to count frames."""
        return Fraction(self.frames) / self.rate

    @property
    def rate(self) -> Fraction:
        """Frames per second."""
        return Fraction(self._reader.rate or 25).limit_denominator(100_000)

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
        looped = [i % self.frames for i in indices]
        unique = sorted(set(looped))
        problem = ValueError("no frame left")
        for cut in range(TAIL + 1):
            try:
                clamped = [min(i, self.frames - 1 - cut) for i in unique]
                if clamped[0] < 0:
                    break
                decoded = self._reader.get(sorted(set(clamped)))
            except ValueError as error:
                problem = error
                continue
            place = {i: position for position, i in enumerate(sorted(set(clamped)))}
            order = [place[min(i, self.frames - 1 - cut)] for i in looped]
            return decoded[order].permute(3, 0, 1, 2)
        raise ValueError(f"frames {unique[0]} to {unique[-1]} cannot be decoded ({problem})")


def _first_line(error: Exception) -> str:
    """Return what went wrong, without the time and source file that decord puts in front."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"^(\[[\d:]+\] \S+: *)+", "", line)[:120]

"""Frames by PyAV: the reference for the other decoders, and what reads the files that they cannot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from av.filter import Graph
from av.video.stream import VideoStream
from torch import Tensor

# How a player turns a frame whose file says that the camera was turned by so many degrees.
TURNS = {
    0: (),
    -90: (("transpose", "dir=clock"),),
    90: (("transpose", "dir=cclock"),),
    180: (("hflip", None), ("vflip", None)),
    -180: (("hflip", None), ("vflip", None)),
}


class PyAVReader:
    """Decodes from the start up to the last frame asked for, and turns only the wanted frames into RGB.

    Frames that follow those of the call before are decoded on from there. FFmpeg's filters turn a frame into RGB as
    players and decord do: upright where a phone was held upright, and the shared colours of odd-sized or 10-bit frames
    by bicubic interpolation.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._next = path, 0
        self._decoded: Iterator[av.VideoFrame] | None = None
        self._rgb: _ToRGB | None = None
        try:
            with av.open(str(path), metadata_errors="ignore") as container:
                stream = video_stream(container)
                self.rate = float(stream.average_rate or 25)
                self.frames = sum(1 for packet in container.demux(stream) if packet.size)
        except av.FFmpegError as error:
            raise ValueError(first_line(error)) from None

    def get(self, indices: Sequence[int]) -> Tensor:
        """See ``advvid.data.decoders.Reader.get``."""
        wanted, frames = set(indices), np.empty(0, np.uint8)
        if self._decoded is None or indices[0] < self._next:
            self._decoded, self._next = self._from_start(), 0
        done = 0
        try:
            for frame in self._decoded:
                self._next += 1
                if self._next - 1 not in wanted:
                    continue
                pixels = self._pixels(frame)
                if not done:
                    frames = np.empty((len(indices), *pixels.shape), np.uint8)
                if pixels.shape != frames.shape[1:]:
                    raise ValueError("the size of its frames changes")
                frames[done] = pixels
                done += 1
                if done == len(indices):
                    return torch.from_numpy(frames)
        except av.FFmpegError as error:
            self._decoded = None
            raise ValueError(first_line(error)) from None
        self._decoded = None
        raise ValueError(f"frame {indices[-1]} is not there")

    def _from_start(self) -> Iterator[av.VideoFrame]:
        with av.open(str(self._path), metadata_errors="ignore") as container:
            stream = video_stream(container)
            # Loader processes share the cores between videos; threads within one would only get in their way.
            stream.codec_context.thread_count = 1
            yield from container.decode(stream)

    def _pixels(self, frame: av.VideoFrame) -> np.ndarray:
        if self._rgb is None or not self._rgb.takes(frame):
            self._rgb = _ToRGB(frame)
        return self._rgb(frame)


class _ToRGB:
    """Turns frames of one kind upright and into RGB."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self._kind = self._of(frame)
        self._graph = Graph()
        self._graph.threads = 1
        self._in = last = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        for name, options in (*TURNS.get(round(frame.rotation), ()), ("format", "pix_fmts=rgb24")):
            step = self._graph.add(name, options)
            last.link_to(step)
            last = step
        self._out = self._graph.add("buffersink")
        last.link_to(self._out)
        self._graph.configure()

    def takes(self, frame: av.VideoFrame) -> bool:
        """Tell whether a frame is of that kind."""
        return self._of(frame) == self._kind

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """Return its pixels, uint8 ``[H, W, 3]``."""
        self._in.push(frame)
        out = self._out.pull()
        assert isinstance(out, av.VideoFrame)
        return out.to_ndarray()

    @staticmethod
    def _of(frame: av.VideoFrame) -> tuple[object, ...]:
        return frame.width, frame.height, frame.format.name, frame.rotation, frame.colorspace, frame.color_range


def video_stream(container: av.container.InputContainer) -> VideoStream:
    """Return the stream that players show: not the picture of a cover that stands before it.

    Raises:
        ValueError: if there is none.
    """
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise ValueError("it has no pictures, only sound")
    return stream


def rotation(path: Path) -> int:
    """Return by how many degrees a file says that its frames have to be turned to stand upright; 0 where none can be read."""
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            return round(next(container.decode(video_stream(container))).rotation)
    except (av.FFmpegError, StopIteration, ValueError):
        return 0


def times_are_guessed(path: Path) -> bool:
    """Tell whether nothing in the file says when its frames are shown: an .avi with B-frames, where guesses are wrong.

    Raises:
        ValueError: if the file cannot be opened.
    """
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            return "avi" in container.format.name and bool(video_stream(container).codec_context.has_b_frames)
    except av.FFmpegError as error:
        raise ValueError(first_line(error)) from None


def first_line(error: Exception) -> str:
    """Return what went wrong, without the number that FFmpeg and the place that decord put in front, and without paths."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if "cannot find video stream" in line:
        return "it has no pictures that this decoder reads"
    line = re.sub(r"^(\[[\d:]+\] \S+: *)+", "", line)
    line = re.sub(r"^\[Errno \d+\] |: '[^']*'$|, \S+$", "", line) if isinstance(error, av.FFmpegError) else line
    return line[:120]

"""Frames through a real video codec and back, in memory: the one place where clips are coded to lose something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import cache
from multiprocessing import get_context
from typing import cast

import av
import numpy as np
import torch
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from advvid.core.errors import AdvvidError
from advvid.core.processes import obey_parent
from advvid.data.encode import settings_of

Frames = NDArray[np.uint8]


def round_trip(frames: Frames, codec: str, quality: int | None = None, gop: int = 12, rate: int = 25) -> Frames:
    """Encode one clip and decode it again; no file is written.

    The decoder gets the encoder's packets themselves, which hold the same pictures as they would in any container. One
    thread encodes, so that the same frames give the same result.

    Args:
        frames: of one clip. Codecs that share colours two by two want even sides: an odd one repeats its last pixels,
            which are cut off again.
        codec: ``libx264`` (H.264), ``mpeg4``, or ``ffv1``, which loses nothing.
        quality: constant rate factor of libx264 (0 best to 51), quantiser of mpeg4 (1 best to 31); None for 18 and 3.
        gop: largest distance between frames that decode by themselves.
        rate: frames per second.

    Shape:
        frames: uint8 RGB ``[T, H, W, 3]``; the result is alike.

    Raises:
        AdvvidError: if the codec cannot take such frames, or another number of frames comes back.

    Example:
        >>> grey = np.full((4, 32, 32, 3), 127, np.uint8)
        >>> bool((round_trip(grey, "ffv1") == grey).all())
        True
    """
    kind, options = settings_of(codec, quality, gop)
    height, width = frames.shape[1:3]
    if kind.pixels == "yuv420p" and (height % 2 or width % 2):
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    encoder = cast(VideoCodecContext, VideoCodecContext.create(codec, "w"))
    encoder.height, encoder.width = frames.shape[1:3]
    encoder.pix_fmt, encoder.thread_count = kind.pixels, 1
    encoder.framerate, encoder.time_base, encoder.options = Fraction(rate), Fraction(1, rate), options
    back: Frames = np.empty_like(frames)
    count = 0
    try:
        for picture in _decoded(encoder, frames, kind.decoder):
            if count < len(back):
                back[count] = picture
            count += 1
    except FFmpegError as error:
        raise AdvvidError(
            f"frames of {height} x {width} cannot go through {codec} ({error}): try another codec or size"
        ) from error
    if count != len(frames):
        raise AdvvidError(f"{codec} gave back {count} of {len(frames)} frames: choose another codec")
    return back[:, :height, :width]


def round_trips(
    clips: Frames, codec: str, quality: int | None = None, gop: int = 12, rate: int = 25, processes: int = 1
) -> Frames:
    """Code every clip of a batch by itself, spread over processes that stay alive for the next batch.

    Args:
        clips: the batch.
        codec: see ``round_trip``, and so the next three.
        quality: see ``round_trip``.
        gop: see ``round_trip``.
        rate: see ``round_trip``.
        processes: 1 codes in this process.

    Shape:
        clips: uint8 RGB ``[B, T, H, W, 3]``; the result is alike.
    """
    parts = min(processes, len(clips))
    if parts <= 1:
        return _some((clips, codec, quality, gop, rate))
    jobs = [(part, codec, quality, gop, rate) for part in np.array_split(clips, parts)]
    return np.concatenate(list(_pool(processes).map(_some, jobs)))


@cache
def _pool(processes: int) -> ProcessPoolExecutor:
    # A server forks before it has threads or a GPU; forking this process could copy a lock that someone holds.
    return ProcessPoolExecutor(processes, get_context("forkserver"), initializer=obey_parent)


def _some(job: tuple[Frames, str, int | None, int, int]) -> Frames:
    clips, codec, quality, gop, rate = job
    return np.stack([round_trip(clip, codec, quality, gop, rate) for clip in clips]) if len(clips) else clips


def _decoded(encoder: VideoCodecContext, frames: Frames, name: str) -> Iterator[Frames]:
    """Encode frames and yield each as it was decoded, RGB again."""
    forth, back = VideoReformatter(), VideoReformatter()
    decoder: VideoCodecContext | None = None
    for number, frame in enumerate([*frames, None]):
        sent = None
        if frame is not None:
            # One thread converts: for frames of this size, starting more costs more than it saves.
            sent = forth.reformat(av.VideoFrame.from_ndarray(frame, "rgb24"), format=encoder.pix_fmt, threads=1)
            sent.pts, sent.time_base = number, encoder.time_base
        packets: Sequence[av.Packet] = encoder.encode(sent)
        if decoder is None and packets:
            decoder = cast(VideoCodecContext, VideoCodecContext.create(name, "r"))
            decoder.width, decoder.height, decoder.thread_count = encoder.width, encoder.height, 1
            if encoder.extradata:
                decoder.extradata = encoder.extradata
        for packet in [*packets, *([None] if frame is None else [])]:
            for picture in decoder.decode(packet) if decoder else []:
                yield cast(Frames, back.reformat(picture, format="rgb24", threads=1).to_ndarray())


def through_codec(
    levels: Tensor, codec: str, quality: int | None, gop: int = 12, rate: int = 25, processes: int = 1
) -> Tensor:
    """Encode every clip of a batch and decode it again.

    Args:
        levels: the clips.
        codec: see ``round_trip``, and so the rest.
        quality: None for the codec's usual one.
        gop: largest distance between frames that decode by themselves.
        rate: frames per second.
        processes: that share the clips.

    Shape:
        levels: uint8 ``[B, 3, T, H, W]``; the result is alike, and on the CPU.

    Raises:
        AdvvidError: if the codec cannot take such frames, or another number of frames comes back.
    """
    frames = levels.permute(0, 2, 3, 4, 1).contiguous().cpu().numpy()
    return torch.from_numpy(round_trips(frames, codec, quality, gop, rate, processes)).permute(0, 4, 1, 2, 3)

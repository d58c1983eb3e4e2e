"""Smaller copies of videos, which decode several times faster."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from advvid.core.errors import AdvvidError
from advvid.core.files import replacing
from advvid.core.processes import pool
from advvid.core.progress import bar
from advvid.data.encode import Frame, write_video
from advvid.data.pyav_reader import video_stream


def shrink(source: Path, goal: Path, short_side: int, quality: int = 3) -> None:
    """Write a copy of a video whose shorter side has ``short_side`` pixels, with every frame and without sound.

    A video that is no larger is copied as it is.

    Args:
        source: the video.
        goal: its copy, which appears only when it is complete.
        short_side: even, in pixels; the longer side follows, rounded to an even number.
        quality: mpeg4's quantiser, 1 (best) to 31.

    Raises:
        AdvvidError: if the video cannot be decoded to its end.
    """
    try:
        # Some files of HMDB51 hold titles that are not UTF-8.
        with av.open(str(source), metadata_errors="replace") as container:
            try:
                stream = video_stream(container)
            except ValueError:
                raise AdvvidError(f"{source} has no pictures: get the file again") from None
            size = _smaller(stream.width, stream.height, short_side)
            if size == (stream.width, stream.height):
                _copy(source, goal)
                return
            rate = stream.average_rate or stream.guessed_rate
            if rate is None:
                raise AdvvidError(f"{source} does not say its frame rate: get the file again")
            # mpeg4 counts time in at most 65535 parts of a second.
            write_video(
                goal, _frames(container, stream, size, source), Fraction(rate).limit_denominator(1000), quality=quality
            )
    except FFmpegError as error:
        raise _undecodable(source, error) from error


def shrink_all(
    source: Path, goal: Path, names: Sequence[str], short_side: int, quality: int = 3, workers: int | None = None
) -> list[str]:
    """Write smaller copies of many videos in parallel; those that exist already are kept.

    Args:
        source: folder of the videos.
        goal: folder of the copies, under the same names.
        names: of the videos, relative to ``source``.
        short_side: see ``shrink``.
        quality: see ``shrink``.
        workers: processes; None for one per core.

    Returns:
        One sentence for each video that cannot be decoded.

    Raises:
        AdvvidError: for a side or quality that cannot be.
    """
    if short_side < 32 or short_side % 2:
        raise AdvvidError(f"--short-side {short_side} cannot be encoded: give an even number of at least 32")
    if not 1 <= quality <= 31:
        raise AdvvidError(f"--quality {quality} is no quantiser of mpeg4: give 1 (best) to 31")
    jobs = [(source / name, goal / name, short_side, quality) for name in names if not (goal / name).is_file()]
    failures: list[str] = []
    if not jobs:
        return failures
    # Forked processes start at once, and use nothing but the decoder and the encoder.
    with (
        bar("re-encoding", len(names), done=len(names) - len(jobs)) as progress,
        pool(workers or os.cpu_count() or 1) as processes,
    ):
        for failure in processes.map(_try, jobs, chunksize=4):
            failures += [failure] if failure else []
            progress.advance(1)
    return failures


def _try(job: tuple[Path, Path, int, int]) -> str | None:
    try:
        shrink(*job)
    except AdvvidError as error:
        return str(error)
    return None


def _smaller(width: int, height: int, short_side: int) -> tuple[int, int]:
    scale = short_side / min(width, height)
    if scale >= 1:
        return width, height
    if width < height:
        return short_side, 2 * round(height * scale / 2)
    return 2 * round(width * scale / 2), short_side


def _frames(container: InputContainer, stream: VideoStream, size: tuple[int, int], source: Path) -> Iterator[Frame]:
    """Decode every frame, averaged down to ``size`` (width, height), then turned upright where the file says so."""
    try:
        for frame in container.decode(stream):
            small = frame.reformat(width=size[0], height=size[1], format="rgb24", interpolation="AREA")
            upright = np.rot90(small.to_ndarray(), round(frame.rotation / 90))
            yield np.ascontiguousarray(upright, dtype=np.uint8)
    except FFmpegError as error:
        raise _undecodable(source, error) from error


def _undecodable(source: Path, error: FFmpegError) -> AdvvidError:
    return AdvvidError(f"{source} cannot be decoded ({error.strerror}): get the file again")


def _copy(source: Path, goal: Path) -> None:
    with source.open("rb") as file, replacing(goal) as copy:
        shutil.copyfileobj(file, copy)

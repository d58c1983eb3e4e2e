"""Writing frames to a video file, whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

from advvid.core.errors import AdvvidError
from advvid.core.files import write_bytes

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Codec:
    """What a codec needs: the decoder, the pixel format, the options that hold its quality, and the qualities it takes."""

    decoder: str
    pixels: str
    options: tuple[str, ...]
    best: int
    worst: int
    usual: int
    tag: str | None = None


# mpeg4 is what the original files of UCF101 and HMDB51 are; ffv1 keeps every RGB value.
CODECS = {
    "mpeg4": Codec("mpeg4", "yuv420p", ("qmin", "qmax"), best=1, worst=31, usual=3, tag="XVID"),
    "libx264": Codec("h264", "yuv420p", ("crf",), best=0, worst=51, usual=18),
    "ffv1": Codec("ffv1", "bgr0", (), best=0, worst=0, usual=0),
}
FORMATS = {".avi": "avi", ".mkv": "matroska", ".mp4": "mp4"}


def write_video(
    path: Path,
    frames: Iterable[Frame],
    rate: Fraction | int,
    codec: str = "mpeg4",
    quality: int | None = None,
    gop: int = 12,
) -> None:
    """Encode frames into a video file without sound.

    The file appears under its name only when it is complete, so that a killed program leaves no half of one. The same
    frames give the same bytes: one thread encodes.

    Args:
        path: ends in .avi, .mkv or .mp4, which decides the container.
        frames: an array or any iterable of frames, read one at a time.
        rate: frames per second.
        codec: ``mpeg4`` (as XVID), ``libx264``, or ``ffv1``, which loses nothing.
        quality: mpeg4's quantiser (1 best to 31) or libx264's constant rate factor (0 best to 51); None for 3 and 18.
        gop: largest distance between frames that decode by themselves.

    Shape:
        frames: uint8 RGB ``[T, H, W, 3]``; H and W are even except for ``ffv1``.

    Raises:
        AdvvidError: for a codec, quality, file name or frames that cannot be encoded; a
            ``StorageError`` where the disk does not take the file.

    Example:
        >>> write_video(Path("grey.mkv"), np.full((8, 32, 32, 3), 127, np.uint8), rate=25, codec="ffv1")
    """
    kind, options = settings_of(codec, quality, gop)
    container = FORMATS.get(path.suffix.lower())
    if container is None:
        raise AdvvidError(f"{path} cannot be written: choose a name that ends in {', '.join(FORMATS)}")
    held = io.BytesIO()  # FFmpeg tells nobody that a disk is full
    try:
        # Without this option a container holds the encoder's version and, in .mkv, a random number.
        with av.open(held, "w", format=container, options={"fflags": "+bitexact"}) as output:
            stream: VideoStream | None = None
            for frame in frames:
                _check(frame, kind, path)
                if stream is None:
                    stream = cast(VideoStream, output.add_stream(codec, rate=rate, options=options))
                    stream.height, stream.width = frame.shape[:2]
                    stream.pix_fmt, stream.thread_count = kind.pixels, 1
                    if kind.tag and container == "avi":  # the name by which such files have always gone
                        stream.codec_tag = kind.tag
                elif (stream.height, stream.width) != frame.shape[:2]:
                    raise AdvvidError(f"the frames for {path} differ in size: give frames of one size")
                output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            if stream is None:
                raise AdvvidError(f"{path} would have no frames: give at least one")
            output.mux(stream.encode(None))
    except FFmpegError as error:
        raise AdvvidError(f"{path} cannot be encoded with {codec} ({error}): try another codec or container") from error
    write_bytes(path, held.getbuffer())


def settings_of(codec: str, quality: int | None, gop: int) -> tuple[Codec, dict[str, str]]:
    """Return what a codec needs and the options that FFmpeg takes for a quality.

    Args:
        codec: a key of ``CODECS``.
        quality: None for the codec's usual one.
        gop: largest distance between frames that decode by themselves.

    Raises:
        AdvvidError: for a codec that this PyAV does not have, or a quality that it does not take.
    """
    usable = [known for known in CODECS if known in av.codecs_available]
    if codec not in usable:
        raise AdvvidError(f"this PyAV has no codec {codec!r} that can write clips: choose one of {', '.join(usable)}")
    kind = CODECS[codec]
    quality = kind.usual if quality is None else quality
    if kind.options and not kind.best <= quality <= kind.worst:
        raise AdvvidError(f"quality={quality} is outside the range of {codec}: give {kind.best} (best) to {kind.worst}")
    steady = {"x264-params": "asm=avx2"} if codec == "libx264" and _has_avx512() else {}
    return kind, {"g": str(gop)} | dict.fromkeys(kind.options, str(quality)) | steady


@cache
def _has_avx512() -> bool:
    # With these instructions x264's rate control (mbtree) gave other bytes for about 1 in 30 of equal clips; with AVX2,
    # which every such processor has, the bytes are those of its plain C code, and always the same.
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux; x264 then chooses by itself
        return False


def _check(frame: Frame, kind: Codec, path: Path) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise AdvvidError(
            f"the frames for {path} are {frame.dtype} {list(frame.shape)}: give uint8 RGB of [height, width, 3]"
        )
    if kind.pixels == "yuv420p" and (frame.shape[0] % 2 or frame.shape[1] % 2):
        raise AdvvidError(
            f"frames of {frame.shape[0]} x {frame.shape[1]} cannot share their colours two by two in {path}: "
            "give even sides, or use codec ffv1"
        )

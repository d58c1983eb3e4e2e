"""Decoded frames kept on disk, so that later epochs read bytes instead of decoding again."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from advvid.core.errors import AdvvidError
from advvid.core.installed import installed
from advvid.core.paths import user_path
from advvid.data.room import Room

# A file is its frames, then a description in JSON, then this: mark, length and checksum of the description.
END = struct.Struct("<16sII")
MARK = b"advvid frames 1\n"


class DamagedError(ValueError):
    """Frames that are no longer what was written."""

    def __init__(self, file: Path) -> None:
        super().__init__(f"the cached frames in {file} are damaged")
        self.file = file


@dataclass(frozen=True)
class Stored:
    """The decoded frames of one video; looks like a ``FrameVideo``.

    Args:
        file: where they lie.
        pixels: mapped into memory, uint8 ``[frames, H, W, 3]``.
        sums: a checksum per frame.
        rate: frames per second.
    """

    file: Path
    pixels: np.ndarray[Any, np.dtype[np.uint8]]
    sums: Sequence[int]
    rate: Fraction

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.sums)

    def fetch(self, indices: Sequence[int]) -> Tensor:
        """Return frames ``[3, n, H, W]``; beyond the end the video starts again.

        Raises:
            DamagedError: if one is not what was written.
        """
        looped = [i % self.frames for i in indices]
        frames = np.asarray(self.pixels[looped])
        if any(zlib.crc32(frame) != self.sums[i] for frame, i in zip(frames, looped, strict=True)):
            raise DamagedError(self.file)
        return torch.from_numpy(frames).permute(3, 0, 1, 2)


class FrameCache:
    """A folder of decoded frames, one file per video and way of decoding.

    A file counts only if it is whole and says that it was made from this very video (path, size, times of change) in
    this very way, by these versions of the decoders; everything else is made again. The content of the video is not asked
    for: to hash it takes about as long as to decode it, and a remembered hash is known by the same size and times. The time
    at which the file system itself last noted a change cannot be set back, as a copy that keeps its time does with the
    other. Files appear by renaming, so that
    any number of processes may share the folder. It is filled up to its bound and nothing is ever thrown out of it:
    what does not fit is decoded each time. To free the disk, delete the folder.

    Args:
        folder: created if need be.
        gigabytes: its bound, in units of 10^9 bytes.
        whole: whether all frames of a training video are put there; else they are only read, where they are.

    Raises:
        AdvvidError: if the folder cannot be written.
    """

    def __init__(self, folder: Path, gigabytes: float, whole: bool = True) -> None:
        self.whole = whole
        self.folder = user_path(folder).resolve()
        _versions()  # here once, rather than in every loader process
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.room = Room(self.folder, int(gigabytes * 1e9))
        except OSError as error:
            raise AdvvidError(
                f"dataset.cache={folder} cannot be written ({error.strerror}): give another folder, or leave it null"
            ) from None

    @property
    def full(self) -> bool:
        """Whether it takes no more."""
        return self.room.full

    def find(self, source: Path, how: Mapping[str, Any]) -> Stored | None:
        """Return the frames of a video that were kept, unless they are missing, cut short or of something else.

        Raises:
            ValueError: if the video itself is not there.
        """
        origin = _origin(source, how)
        file = self._file(origin)
        try:
            content = np.memmap(file, np.uint8, "r")
            mark, length, checksum = END.unpack(content[-END.size :].tobytes())
            head = content[-END.size - length : -END.size].tobytes()
            if mark != MARK or zlib.crc32(head) != checksum:
                return None
            about = json.loads(head)
            shape = about["shape"]
            if about["origin"] != origin or len(content) != int(np.prod(shape)) + length + END.size:
                return None
            return Stored(file, content[: int(np.prod(shape))].reshape(shape), about["sums"], Fraction(about["rate"]))
        except (OSError, ValueError, KeyError, TypeError, struct.error):
            return None

    def keep(
        self, source: Path, how: Mapping[str, Any], count: int, rate: Fraction, parts: Iterable[Tensor]
    ) -> Stored | None:
        """Write the frames of a video and return them; None where there is no room, or they cannot be made whole.

        Args:
            source: the video.
            how: everything that the frames depend on.
            count: of its frames.
            rate: in frames per second.
            parts: all frames in order, uint8 ``[n, H, W, 3]`` each.
        """
        if self.full:
            return None
        origin, remaining, scratch = _origin(source, how), iter(parts), None
        file = self._file(origin)
        try:
            first = next(remaining)
            # The description is shorter than this: a checksum has ten digits.
            most = count * first[0].numel() + 13 * count + 1000 + len(json.dumps(origin))
            scratch = self.room.reserve(most, file.parent)
            if scratch is None:
                return None
            with scratch.open("r+b") as out:
                sums: list[int] = []
                shape = first.shape[1:]
                for part in chain([first], remaining):
                    if part.shape[1:] != shape:
                        raise ValueError("the size of its frames changes")
                    for frame in part.contiguous().numpy():
                        sums.append(zlib.crc32(frame))
                        out.write(frame)
                about = {"origin": origin, "shape": [len(sums), *shape], "rate": str(rate), "sums": sums}
                head = json.dumps(about).encode()
                out.write(head + END.pack(MARK, len(head), zlib.crc32(head)))
                size = out.tell()
            self.room.commit(scratch, size, file)
        except ValueError:
            return None  # a clip of the sound part can still be cut from the video itself
        except OSError as error:
            self.room.close(error.strerror or type(error).__name__)
            return None
        finally:
            if scratch is not None:
                self.room.remove(scratch)
        return self.find(source, how)

    def drop(self, file: Path) -> None:
        """Remove a damaged file, so that it is made again."""
        self.room.remove(file)

    def _file(self, origin: Mapping[str, Any]) -> Path:
        # A changed video replaces its old frames: its size and time are in the description but not in the name.
        text = json.dumps([origin["path"], origin["how"]], sort_keys=True)
        name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return self.folder / name[:2] / f"{name[2:]}.frames"


def _origin(source: Path, how: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the frames of a video depend on, as it reads after a passage through JSON."""
    try:
        stat = source.stat()
    except OSError as error:
        raise ValueError(error.strerror) from None
    # Absolute but not resolved: a link that is pointed elsewhere shows in size and time.
    return {
        "path": os.path.abspath(source),
        "size": stat.st_size,
        "changed": [stat.st_mtime_ns, stat.st_ctime_ns],
        "how": {**json.loads(json.dumps(how)), **_versions()},
    }


@cache
def _versions() -> dict[str, str]:
    """Return what else the bytes of resized frames depend on."""
    found = installed(("av", "decord", "decord2", "torchcodec", "torch", "torchvision"))
    # Without these instructions torchvision resizes in floats.
    return found | {"cpu": "avx" if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") else "plain"}

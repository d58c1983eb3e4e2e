"""What stands where in TFRecord files of videos: ids and labels without the frames, kept for the next run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from advvid.core import files
from advvid.core.batch import derive_seed
from advvid.core.errors import AdvvidError
from advvid.core.escape import visible
from advvid.data import tfrecord

log = logging.getLogger(__name__)

# A video's context (id and labels) comes first and is short; the frames behind it are not read.
HEAD_BYTES = 2048
NAMES = ("id", "video_id")


@dataclass(frozen=True)
class Index:
    """The videos of several files, in the order of files and records.

    Shape:
        file, offset, length: int64 ``[n]``, the number of the file and the place in it.
        ids: ``[n]`` strings. labels: int64, those of all videos one after the other. starts: int64 ``[n + 1]``, where
        each video's begin.
    """

    files: tuple[Path, ...]
    file: NDArray[np.int64]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def place(self, number: int) -> tuple[Path, tfrecord.Place]:
        """Return where a video's record lies."""
        return self.files[self.file[number]], tfrecord.Place(int(self.offset[number]), int(self.length[number]))

    def labels_of(self, number: int) -> NDArray[np.int64]:
        """Return a video's labels."""
        return self.labels[self.starts[number] : self.starts[number + 1]]


def index(files: Sequence[Path], folder: Path) -> Index:
    """Return the videos of some files.

    Args:
        files: TFRecord files of SequenceExamples.
        folder: where what was found in each file is kept, until the file changes.

    Raises:
        AdvvidError: if a file is cut off or damaged, or its records are no videos.
    """
    absent = next((path for path in files if not path.is_file()), None)
    if absent is not None:
        raise AdvvidError(f"{absent} is no file, or a link that leads nowhere: remove it, or get the file again")
    new = [path for path in files if not _kept(path, folder).is_file()]
    if new:
        log.info("looking through %d files for ids and labels, once", len(new))
    parts = [_indexed(path, folder) for path in files]
    counts = [len(part["ids"]) for part in parts]
    labels = [part["count"] for part in parts]

    def joined(name: str) -> NDArray[np.int64]:
        return np.concatenate([part[name] for part in parts]) if parts else np.zeros(0, dtype=np.int64)

    starts = np.concatenate([[0], *labels]).cumsum().astype(np.int64)
    ids = np.concatenate([part["ids"] for part in parts]) if parts else np.zeros(0, dtype=np.str_)
    order = np.argsort(ids, kind="stable")
    twice = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if len(twice):
        numbers = np.repeat(np.arange(len(files)), counts)[order[twice[0] : twice[0] + 2]]
        raise AdvvidError(
            f"the video {visible(str(ids[order[twice[0]]]))} stands twice, in {files[numbers[0]]} and in {files[numbers[1]]}: "
            "remove one of the files"
        )
    return Index(
        tuple(files),
        np.repeat(np.arange(len(files)), counts),
        joined("offset"),
        joined("length"),
        ids,
        joined("labels"),
        starts,
    )


def _indexed(path: Path, folder: Path) -> dict[str, NDArray[np.generic]]:
    """Return a file's index, kept from an earlier run where the file is still the same."""
    kept = _kept(path, folder)
    # None there, or cut short: it is made anew.
    with suppress(OSError, ValueError, EOFError, BadZipFile), np.load(kept, allow_pickle=False) as found:
        return dict(found)
    made = _scan(path)
    files.write_arrays(kept, made)
    return made


def _kept(path: Path, folder: Path) -> Path:
    stat = path.stat()
    return folder / f"{derive_seed(str(path.resolve()), stat.st_size, stat.st_mtime_ns):016x}.npz"


def _scan(path: Path) -> dict[str, NDArray[np.generic]]:
    places = list(tfrecord.places(path))
    ids, labels, count = [], [], []
    with path.open("rb") as file:
        for number, place in enumerate(places):
            file.seek(place.offset)
            head = _context_bytes(file.read(min(HEAD_BYTES, place.length)))
            message = tfrecord.parse(head or tfrecord.read(path, place, file), f"record {number} of {path}")
            context = message.context.feature
            name = [value for key in NAMES if key in context for value in context[key].bytes_list.value][:1]
            if not name or "labels" not in context:
                raise AdvvidError(
                    f"record {number} of {path} has no id or no labels: give YouTube-8M's frame-level files of train and "
                    "validate"
                )
            ids.append(name[0].decode(errors="replace"))
            own = list(context["labels"].int64_list.value)
            labels += own
            count.append(len(own))
    return {
        "offset": np.array([place.offset for place in places], dtype=np.int64),
        "length": np.array([place.length for place in places], dtype=np.int64),
        "ids": np.array(ids, dtype=np.str_),
        "labels": np.array(labels, dtype=np.int64),
        "count": np.array(count, dtype=np.int64),
    }


def _context_bytes(head: bytes) -> bytes | None:
    """Return a record's beginning up to the end of its context, by itself a message; None where that is not whole."""
    if head[:1] != b"\x0a":  # field 1, length-delimited
        return None
    length, shift = 0, 0
    for position, byte in enumerate(head[1:11], 1):
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            end = position + 1 + length
            return head[:end] if end <= len(head) else None
    return None

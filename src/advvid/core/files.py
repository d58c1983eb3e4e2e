"""Files that appear whole or not at all, and one sentence where the disk does not take them."""

from __future__ import annotations

import errno
import io
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from advvid.core.errors import AdvvidError

# What a disk answers, with what the user can do about it.
REMEDIES = {
    errno.ENOSPC: ("the disk is full", "make room there"),
    errno.EDQUOT: ("the quota of this user is spent", "make room there"),
    errno.EFBIG: ("it would be larger than this process may make a file", "raise the limit (ulimit -f)"),
    errno.EROFS: ("the file system is read-only", "choose a folder that can be written"),
    errno.EACCES: ("this user may not write there", "choose a folder that can be written"),
    errno.EPERM: ("this user may not write there", "choose a folder that can be written"),
    errno.ENOTDIR: ("a file stands where a folder of its path should be", "choose another folder"),
    errno.EEXIST: ("a file stands where a folder of its path should be", "choose another folder"),
    errno.EISDIR: ("a folder of that name is there", "choose another folder"),
    errno.ENAMETOOLONG: ("its name is too long for the file system", "choose a shorter one"),
    errno.EIO: ("the disk reports an error", "check the disk"),
}
# "the same command" alone would be refused for a training, whose folder now holds a run.
GOES_ON = "then give the same command again, a training with resume=true; nothing is half written"
HOST = re.sub(r"\W", "_", platform.node())
SCRATCH = re.compile(r"^\..*\.(?P<host>\w*)-(?P<pid>\d+)\.tmp$")


class StorageError(AdvvidError):
    """A file that could not be written; the old one of its name, if there was one, is still there."""


def storage_error(error: OSError, path: Path, needed: int | None = None) -> StorageError:
    """Return one sentence for what a disk answered.

    Args:
        error: from the operating system.
        path: of the file or folder.
        needed: bytes that were to be written, where known.

    Example:
        >>> print(storage_error(OSError(errno.EROFS, ""), Path("/cdrom/a.json")))
        /cdrom/a.json cannot be written (the file system is read-only): choose a folder that can be written, then give ...
    """
    what, remedy = REMEDIES.get(error.errno or 0, (error.strerror or str(error), "choose another folder"))
    if needed is not None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        what += f"; it needs {_size(needed)}"
        with suppress(OSError):
            what += f", {_size(shutil.disk_usage(existing(path)).free)} are free" if error.errno == errno.ENOSPC else ""
    return StorageError(f"{path} cannot be written ({what}): {remedy}, {GOES_ON}")


def make_folder(path: Path) -> Path:
    """Make a folder and those above it, and return it.

    Raises:
        StorageError: naming the folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, path) from None
    return path


@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[BinaryIO]:
    """Give a file to write into, which takes the name ``path`` when the block has ended well.

    A kill at any moment leaves the old file or the new one. Its folder is made.

    Args:
        path: of the file.
        durable: wait until the disk has it, so that not even a loss of power leaves neither.

    Raises:
        StorageError: if it cannot be written, with the bytes that it needed.

    Example:
        >>> with replacing(Path("notes.txt")) as file:              # doctest: +SKIP
        ...     file.write(b"all or nothing")
    """
    make_folder(path.parent)
    scratch = scratch_beside(path)
    try:
        try:
            raw = scratch.open("wb")
        except OSError as error:
            raise storage_error(error, path) from None
        file = _Counted(raw)
        try:
            yield file  # type: ignore[misc]
        finally:
            file.settle(durable)
        try:
            if file.error is not None:
                scratch.unlink()  # first, so that the room which is told is that which there is
                raise file.error
            scratch.replace(path)
        except OSError as error:
            raise storage_error(error, path, file.count) from None
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a new folder to fill, which takes the name ``path``, and the place of what is there, when the block has ended well.

    Raises:
        StorageError: if it cannot be made.
    """
    scratch = scratch_beside(path)
    shutil.rmtree(scratch, ignore_errors=True)
    make_folder(scratch)
    try:
        yield scratch
        shutil.rmtree(path, ignore_errors=True)
        scratch.rename(path)
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        raise storage_error(error, path) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Counted:
    """A file that goes on counting after the disk has refused, so that what was needed can be told."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self.count = raw, 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.count += size
        if self.error is None:
            try:
                self._raw.write(data)
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None:
        """Leave it to ``settle``."""

    def settle(self, durable: bool) -> None:
        """Close the file; a disk may refuse as late as here."""
        try:
            if durable and self.error is None:
                self._raw.flush()
                os.fsync(self._raw.fileno())
            self._raw.close()
        except OSError as error:
            self.error = self.error or error
            with suppress(OSError):
                self._raw.close()


def write_bytes(path: Path, content: bytes | memoryview, durable: bool = False) -> None:
    """Write a file whole or not at all; see ``replacing``."""
    with replacing(path, durable) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) whole or not at all; see ``replacing``."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Write a JSON file whole or not at all; see ``replacing``."""
    write_text(path, json.dumps(value, indent=indent))


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as an ``.npz`` file whole or not at all; see ``replacing``."""
    held = io.BytesIO()
    np.savez(held, allow_pickle=False, **arrays)
    write_bytes(path, held.getvalue())


def write_tensors(path: Path, state: Mapping[str, Any], durable: bool = False) -> None:
    """Write tensors and plain values, as ``torch.save`` does, whole or not at all; see ``replacing``."""
    with replacing(path, durable) as file:
        torch.save(dict(state), file)


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file; where the disk refuses, what was written of it is taken back.

    Raises:
        StorageError: naming the file.
    """
    make_folder(path.parent)
    data = f"{line}\n".encode()
    try:
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            done = 0
            try:
                while done < len(data):  # the last bytes that a disk takes are taken without an error
                    done += file.write(data[done:])
            except OSError:
                with suppress(OSError):
                    file.truncate(before)
                raise
    except OSError as error:
        raise storage_error(error, path, len(data)) from None


def scratch_beside(path: Path) -> Path:
    """Return a hidden name in the same folder that tells which process writes there."""
    return path.with_name(f".{path.name[:100]}.{HOST}-{os.getpid()}.tmp")


def remove_abandoned(paths: Iterator[Path]) -> int:
    """Remove those scratch files and folders whose process on this machine has ended, and return their number.

    Args:
        paths: to look at, such as ``folder.rglob(".*.tmp")``; others than scratch names are left alone.
    """
    removed = 0
    for path in list(paths):
        found = SCRATCH.match(path.name)
        if found is None or found["host"] != HOST or alive(int(found["pid"])):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed += 1
    return removed


def alive(pid: int) -> bool:
    """Tell whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    with suppress(OSError, IndexError):  # Linux: one that has ended, but whose parent has not asked yet
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def existing(path: Path) -> Path:
    """Return a path, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _size(count: int) -> str:
    """Return a number of bytes in words.

    Example:
        >>> _size(999), _size(1_234_567)
        ('999 bytes', '1.23 MB')
    """
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= least:
            return f"{count / least:.3g} {unit}"
    return f"{count} bytes"

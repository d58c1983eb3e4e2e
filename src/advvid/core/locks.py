"""Locks between processes that a dead process cannot hold, and that say who holds them."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from advvid.core.errors import AdvvidError
from advvid.core.files import HOST, alive, make_folder, storage_error
from advvid.core.processes import PARENT

log = logging.getLogger(__name__)

# A wait is told after so many seconds, and again from time to time.
PATIENCE, AGAIN, LOOK = 3.0, 60.0, 0.1
BUSY = (errno.EACCES, errno.EAGAIN)

_held: set[Path] = set()  # a process can take its own lock twice: here is what it must not
os.register_at_fork(after_in_child=_held.clear)


@contextmanager
def locked(file: Path, what: str, wait: bool = True, remedy: str = "wait for it or stop it") -> Iterator[None]:
    """Hold a lock file for as long as a block.

    The lock is the operating system's (``fcntl.lockf``): it ends with its process, however that ends, and is not inherited
    by forked ones. The file says who holds it and goes in the end.

    Args:
        file: of the lock; its folder is made.
        what: is locked, for messages, such as ``the run folder outputs/a``.
        wait: until it is free; False: raise. One whose holder outlives the process that it worked for, and so is about to
            stop, is waited for in any case.
        remedy: what a user can do who did not get it.

    Raises:
        AdvvidError: if another process holds it and ``wait`` is False; a ``StorageError`` if the file cannot be made.

    Example:
        >>> with locked(Path("data/.lock"), "the folder data"):      # doctest: +SKIP
        ...     make_the_data()
    """
    make_folder(file.parent)
    key = file.absolute()
    began, told = time.monotonic(), -AGAIN
    while (handle := _taken(file, key)) is None:
        holder = {} if key in _held else _holder(file)
        if not wait and not _stopping(holder):
            raise AdvvidError(f"{what} is in use by {_named(holder)}: {remedy}")
        waited = time.monotonic() - began
        if waited > PATIENCE and waited - told > AGAIN:
            log.warning("waiting for %s, which works on %s (lock: %s)", _named(holder), what, file)
            told = waited
        time.sleep(LOOK)
    try:
        yield
    finally:
        _held.discard(key)
        with suppress(OSError):
            file.unlink()  # before it is free: who waits finds that the name is gone, and makes a new file
        if handle >= 0:
            os.close(handle)


def _taken(file: Path, key: Path) -> int | None:
    """Return the open lock file, -1 where the file system has no locks, None where another holds it."""
    if key in _held:  # opening and closing it here would free it
        return None
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise storage_error(error, file) from None
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_ino != os.stat(file).st_ino:  # its last holder took the name away meanwhile
            raise FileNotFoundError(errno.ENOENT, "")
    except OSError as error:
        os.close(handle)
        if error.errno in (*BUSY, errno.ENOENT):
            return None
        log.warning("%s: the file system has no locks (%s); see that one process works here", file, error.strerror)
        handle = -1
    else:
        mine = {"pid": os.getpid(), "host": HOST, "since": datetime.now().isoformat(" ", "seconds")}
        if os.environ.get(PARENT):
            mine["parent"] = int(os.environ[PARENT])
        with suppress(OSError):  # a full disk still has locks
            os.truncate(handle, 0)
            os.write(handle, json.dumps(mine).encode())
    _held.add(key)
    return handle


def _holder(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _stopping(holder: dict[str, Any]) -> bool:
    """Tell whether the holder worked for a process that has ended, see ``end_after_parent``."""
    parent = holder.get("parent")
    return isinstance(parent, int) and holder.get("host") == HOST and not alive(parent)


def _named(holder: dict[str, Any]) -> str:
    if not isinstance(holder.get("pid"), int):
        return "another process"
    return f"process {holder['pid']} on {holder.get('host')} (since {holder.get('since')})"

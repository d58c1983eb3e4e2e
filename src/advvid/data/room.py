"""Counting the bytes of a folder that several processes fill at once."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

# A file still being written after so many seconds was left behind by a killed process.
STALE = 3600


class Room:
    """A bound on the bytes of the files below a folder, kept by every process that asks before it writes.

    The count stands in a file of the folder and changes under a lock. Making a ``Room`` counts afresh, so that files
    that somebody deleted make room again, and what killed processes left behind goes.

    Args:
        folder: whose files count; it exists.
        limit: bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit, self._refused = folder, limit, False
        with self._locked() as state:
            state.update(self._count())

    @property
    def used(self) -> int:
        """Bytes taken."""
        with self._locked() as state:
            return state["used"]

    @property
    def full(self) -> bool:
        """Whether something was refused for lack of room; it stays so."""
        if not self._refused:
            with self._locked() as state:
                self._refused = state["full_at"] >= self.limit
        return self._refused

    def reserve(self, amount: int, folder: Path) -> Path | None:
        """Create a file of so many bytes to write into; after the first refusal, which is told, everything is refused.

        Counting and every change of a file's size happen under the lock, so that a process that starts meanwhile and
        counts afresh comes to the same sum.
        """
        with self._locked() as state:
            if state["full_at"] >= self.limit:
                return None
            if state["used"] + amount <= self.limit:
                folder.mkdir(exist_ok=True)
                handle, name = tempfile.mkstemp(".tmp", dir=folder)
                os.truncate(handle, amount)
                os.close(handle)
                state["used"] += amount
                return Path(name)
            state["full_at"] = self.limit
            used = state["used"]
        log.warning(
            "the cache of decoded videos in %s is full (%.3g of %.3g GB): the others are decoded each time; "
            "dataset.cache_gb is its bound",
            self.folder,
            used / 1e9,
            self.limit / 1e9,
        )
        return None

    def commit(self, scratch: Path, size: int, file: Path) -> None:
        """Cut what was written to its size and let it appear under its name, where it may replace another."""
        with self._locked() as state:
            change = size - scratch.stat().st_size - (file.stat().st_size if file.exists() else 0)
            os.truncate(scratch, size)
            scratch.replace(file)
            state["used"] = max(0, state["used"] + change)

    def remove(self, file: Path) -> None:
        """Remove a file, unless another process did."""
        with suppress(OSError), self._locked() as state:  # the count is made afresh by the next run
            if file.exists():
                state["used"] = max(0, state["used"] - file.stat().st_size)
                file.unlink()

    def close(self, reason: str) -> None:
        """Refuse everything from now on, because files cannot be written."""
        told, self._refused = self._refused, True
        with suppress(OSError), self._locked() as state:  # a full disk may not even take the count
            told = told or state["full_at"] >= self.limit
            state["full_at"] = self.limit
        if not told:
            log.warning(
                "the cache of decoded videos in %s takes no more (%s): the others are decoded each time",
                self.folder,
                reason,
            )

    def _count(self) -> dict[str, int]:
        used = 0
        for path in self.folder.glob("??/*"):
            try:
                stat = path.stat()
                if path.suffix == ".tmp" and time.time() - stat.st_mtime > STALE:
                    path.unlink()
                else:
                    used += stat.st_size
            except FileNotFoundError:
                continue  # another process finished or removed it meanwhile
        return {"used": used, "full_at": 0}

    @contextmanager
    def _locked(self) -> Iterator[dict[str, int]]:
        """Give the count and write it back; one process at a time."""
        with (self.folder / "room.json").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            try:
                state = json.load(file)
                before = {"used": int(state["used"]), "full_at": int(state["full_at"])}
            except (ValueError, KeyError, TypeError):
                before = self._count()  # cut short by a kill, or not there yet
                file.seek(0)
                file.truncate()
            state = dict(before)
            yield state
            if file.tell() == 0 or state != before:
                file.seek(0)
                file.truncate()
                json.dump(state, file)
                file.flush()

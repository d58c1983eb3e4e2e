"""A fast look at every listed video before training starts, remembered between runs."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av

from advvid.core import files
from advvid.core.paths import cache_dir
from advvid.core.progress import bar
from advvid.data.decoders import TAIL, FrameVideo
from advvid.data.lists import Entry

# A container may promise a frame or two more than it holds; a file cut in half lacks far more.
TRUNCATED = 5


def problem(path: Path, decoder: str, start: float | None = None, end: float | None = None) -> str | None:
    """Say in a few words what is wrong with a video, or with a part of it; None for a sound one.

    Looks at the size, opens the file, compares the frames that its header promises with the packets that are there
    (a truncated .avi decodes as a shorter clip without an error), and decodes the first, the middle and a late frame.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            return "no file" if path.exists() else "missing"
        if path.stat().st_size == 0:
            return "empty"
        reader = FrameVideo(path, decoder, start=start, end=end).reader
        reader.get(sorted({0, reader.frames // 2, max(0, reader.frames - 1 - TAIL)}))
        with av.open(str(path), metadata_errors="ignore") as container:
            stream = container.streams.video[0]
            promised, packets = stream.frames, sum(1 for packet in container.demux(stream) if packet.size)
    except FileNotFoundError:
        return "missing"
    except (ValueError, OSError, IndexError, av.FFmpegError) as error:
        return f"undecodable: {(str(error).strip().splitlines() or [type(error).__name__])[0][:100]}"
    if packets < promised - TRUNCATED:
        return f"truncated: {packets} of {promised} frames"
    return None


def _why(error: OSError, link: bool) -> str:
    """Say why a file or folder cannot be looked at."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "a link that leads nowhere" if link else "missing"
    return "a link that leads back to itself" if error.errno == errno.ELOOP else (error.strerror or "unreadable")


def scan(root: Path, entries: Sequence[Entry], decoder: str) -> dict[str, str]:
    """Return the videos, or parts of videos, that cannot be used, with what is wrong with each.

    A sound file is remembered by its size and time of change in the cache folder (the data may lie on a read-only
    disk), so that the next run starts at once.

    Args:
        root: the folder that the entries' paths start from.
        entries: what is listed.
        decoder: see ``advvid.data.decoders``.

    Returns:
        ``path`` and ``part`` of an entry, as one text, by what is wrong with it.
    """
    memory = (
        cache_dir()
        / "scans"
        / f"{hashlib.blake2b(f'{root.resolve()}|{decoder}'.encode(), digest_size=8).hexdigest()}.json"
    )
    try:
        sound = json.loads(memory.read_text())
    except (OSError, ValueError):
        sound = {}
    named = {entry.path + entry.part: entry for entry in entries}
    present, absent = _look(root, [entry.path for entry in entries])
    found = {name: absent[entry.path] for name, entry in named.items() if entry.path in absent}
    todo = [name for name, e in named.items() if e.path in present and sound.get(name) != present[e.path]]
    if todo:
        workers = min(16, (os.cpu_count() or 1) * 2)

        def look(name: str) -> str | None:
            entry = named[name]
            return problem(root / entry.path, decoder, entry.start, entry.end)

        with bar("scanning the videos", len(todo)) as progress, ThreadPoolExecutor(workers) as pool:
            try:
                for name, wrong in zip(todo, pool.map(look, todo), strict=True):
                    progress.advance(1)
                    if wrong is None:
                        sound[name] = present[named[name].path]
                    else:
                        found[name] = wrong
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for all the others
                raise
        files.write_json(memory, sound, indent=None)
    return {name: found[name] for name in named if name in found}


def _look(root: Path, paths: Sequence[str]) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Return the files that are there, each with its size and time of change, and why each other one is not.

    One listing per folder is far quicker than a call per file on a network disk.
    """
    present: dict[str, list[int]] = {}
    absent: dict[str, str] = {}
    for folder in sorted({os.path.dirname(path) for path in paths}):
        try:
            with os.scandir(root / folder) as items:
                for item in items:
                    path = os.path.join(folder, item.name)
                    try:
                        stat = item.stat()
                        present[path] = [stat.st_size, stat.st_mtime_ns]
                    except OSError as error:
                        absent[path] = _why(error, item.is_symlink())
        except OSError as error:
            absent |= {
                path: _why(error, (root / folder).is_symlink()) for path in paths if os.path.dirname(path) == folder
            }
    spelt = {path.casefold(): path for path in present}
    for path in paths:
        if path not in present and path not in absent:
            other = spelt.get(path.casefold())
            absent[path] = "missing" if other is None else f"missing, but there is {other}, which differs only in case"
    return present, absent

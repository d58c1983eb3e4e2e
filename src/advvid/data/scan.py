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
from advvid.core.installed import installed
from advvid.core.paths import cache_dir
from advvid.core.progress import bar
from advvid.data.content import EVERY
from advvid.data.decoders import TAIL, FrameVideo, candidates
from advvid.data.lists import Entry
from advvid.data.pyav_reader import first_line, video_stream

# A container may promise a frame or two more than it holds; a file cut in half lacks far more.
TRUNCATED = 5


def problem(path: Path, decoder: str, start: float | None = None, end: float | None = None) -> str | None:
    """Say in a few words what is wrong with a video, or with a part of it; None for a sound one.

    Looks at the size, opens the file, compares the frames that its header promises with the packets that are there
    (a truncated .avi decodes as a shorter clip without an error), and decodes the first, the middle and a late frame.
    Where the decoder fails and another reads the file, it names that one.
    """
    return look(path, decoder, start, end)[0]


def look(
    path: Path, decoder: str, start: float | None = None, end: float | None = None, hardware: bool = False
) -> tuple[str | None, str]:
    """Return what is wrong with a video, see ``problem``, and the decoder that reads it: of ``auto`` the first that can."""
    names = candidates(decoder, hardware)
    found = {name: wrong for name in names if (wrong := _problem(path, name, start, end)) is not None}
    good = next((name for name in names if name not in found), None)
    if good is not None:
        return None, good
    wrong = found[names[-1]]
    if decoder != "auto" and wrong.startswith("undecodable"):
        other = next((n for n in candidates("auto") if n != decoder and _problem(path, n, start, end) is None), None)
        if other is not None:
            return (
                f"undecodable by {decoder}{wrong.removeprefix('undecodable')}; dataset.decoder={other} reads it",
                decoder,
            )
    return wrong, decoder


def _problem(path: Path, decoder: str, start: float | None, end: float | None) -> str | None:
    try:
        if not path.is_file():  # a pipe would be waited for
            return "no file" if path.exists() else "missing"
        if path.stat().st_size == 0:
            return "empty"
        reader = FrameVideo(path, decoder, start=start, end=end).reader
        reader.get(sorted({0, reader.frames // 2, max(0, reader.frames - 1 - TAIL)}))
        with av.open(str(path), metadata_errors="ignore") as container:
            stream = video_stream(container)
            promised, packets = stream.frames, sum(1 for packet in container.demux(stream) if packet.size)
    except FileNotFoundError:
        return "missing"
    except (ValueError, OSError, av.FFmpegError) as error:
        return f"undecodable: {first_line(error)[:100]}"
    if packets < promised - TRUNCATED:
        return f"truncated: {packets} of {promised} frames"
    return None


def _why(error: OSError, link: bool) -> str:
    """Say why a file or folder cannot be looked at."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "a link that leads nowhere" if link else "missing"
    return "a link that leads back to itself" if error.errno == errno.ELOOP else (error.strerror or "unreadable")


def scan(
    root: Path, entries: Sequence[Entry], decoder: str, hardware: bool = False
) -> tuple[dict[str, str], dict[str, str]]:
    """Find the videos, or parts of videos, that cannot be used, and what reads the others.

    A sound file is remembered by its size and time of change in the cache folder (the data may lie on a read-only
    disk), so that the next run starts at once.

    Args:
        root: the folder that the entries' paths start from.
        entries: what is listed.
        decoder: see ``advvid.data.decoders``.
        hardware: see ``advvid.data.decoders.candidates``.

    Returns:
        What is wrong with each that cannot be used, and the decoder of each other one, both by ``Entry.key``.
    """
    how = f"{root.resolve()}|{decoder}|{installed(EVERY)}{'|on a GPU' if hardware else ''}"
    memory = cache_dir() / "scans" / f"{hashlib.blake2b(how.encode(), digest_size=8).hexdigest()}.json"
    try:
        sound = json.loads(memory.read_text())
    except (OSError, ValueError):
        sound = {}
    named = {entry.key: entry for entry in entries}
    present, absent = _look(root, [entry.path for entry in entries])
    bad = {key: absent[entry.path] for key, entry in named.items() if entry.path in absent}
    todo = [k for k, e in named.items() if e.path in present and (sound.get(k) or [0])[:-1] != present[e.path]]
    if todo:
        workers = min(16, (os.cpu_count() or 1) * 2)

        def one(key: str) -> tuple[str | None, str]:
            entry = named[key]
            return look(root / entry.path, decoder, entry.start, entry.end, hardware)

        with bar("scanning the videos", len(todo)) as progress, ThreadPoolExecutor(workers) as pool:
            try:
                for key, (wrong, reader) in zip(todo, pool.map(one, todo), strict=True):
                    progress.advance(1)
                    if wrong is None:
                        sound[key] = [*present[named[key].path], reader]
                    else:
                        bad[key] = wrong
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for all the others
                raise
        files.write_json(memory, sound, indent=None)
    return {k: bad[k] for k in named if k in bad}, {k: sound[k][-1] for k in named if k not in bad}


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
            why = _why(error, (root / folder).is_symlink()) + _other_case(root / folder)
            absent |= {path: why for path in paths if os.path.dirname(path) == folder}
    spelt = {path.casefold(): path for path in present}
    for path in paths:
        if path not in present and path not in absent:
            other = spelt.get(path.casefold())
            absent[path] = "missing" if other is None else f"missing, but there is {other}, which differs only in case"
    return present, absent


def _other_case(folder: Path) -> str:
    """Say which folder there is in place of one that is not, where its name differs only in case."""
    try:
        names = [item.name for item in folder.parent.iterdir() if item.name.casefold() == folder.name.casefold()]
    except OSError:
        names = []
    other = [] if folder.name in names else names  # a link that leads nowhere is there under its very name
    return f", but there is the folder {other[0]}, which differs only in case" if other else ""

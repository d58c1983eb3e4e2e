"""Unpacking archives, and holding what came out against the lists."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from advvid.core import files
from advvid.core.errors import AdvvidError
from advvid.data.lists import lines_of, stays_inside

# The programs that unpack .rar, best first: the command line before the archive and what follows it.
UNPACKERS = {
    "unrar": (["x", "-o+", "-idq", "--"], ["{folder}/"]),
    "unar": (["-quiet", "-force-overwrite", "-no-directory", "-output-directory", "{folder}"], []),
    "bsdtar": (["-x", "-C", "{folder}", "-f"], []),
    "7z": (["x", "-y", "-bso0", "-bsp0", "-o{folder}", "--"], []),
    "7zz": (["x", "-y", "-bso0", "-bsp0", "-o{folder}", "--"], []),
}
# Videos are packed already: an archive that unfolds to far more holds something else. Small ones, of lists, may.
MOST_UNPACKED = 50
SMALL = 100_000_000
NAMED = 5  # how many missing files a report names


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip or .rar into ``folder``; a failure leaves the folder as it was.

    Of the files that ``folder`` holds already, those of the same name are replaced and the others stay.

    Raises:
        AdvvidError: if the archive is damaged, reaches outside the folder, or no installed program unpacks it.
    """
    scratch = folder / f".{archive.stem}.unpacking"
    refuse_link(scratch)
    shutil.rmtree(scratch, ignore_errors=True)
    files.make_folder(scratch)
    try:
        if archive.suffix.lower() == ".zip":
            _unzip(archive, scratch)
        else:
            _unpack_outside(archive.resolve(), scratch)
        _refuse_odd(archive, scratch)
        _merge(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unzip(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                # extractall would quietly put such a member elsewhere; an archive that holds one is not to be trusted.
                if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or ":" in name:
                    raise AdvvidError(
                        f"{archive} holds the path {name!r}, outside the target folder: get the original archive"
                    )
            needed, packed = (
                sum(getattr(m, size) for m in opened.infolist()) for size in ("file_size", "compress_size")
            )
            free = shutil.disk_usage(folder).free
            if needed > free or needed > MOST_UNPACKED * packed + SMALL:
                raise AdvvidError(
                    f"{archive} unpacks to {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free: make room, or get the "
                    "original archive if that is more than it should be"
                )
            opened.extractall(folder)
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        raise AdvvidError(f"{archive} cannot be unpacked ({error}): get the archive again") from error


def _unpack_outside(archive: Path, folder: Path) -> None:
    """Unpack with the first installed program that manages; each of them keeps members inside the folder."""
    installed = [name for name in UNPACKERS if shutil.which(name)]
    if not installed:
        raise AdvvidError(
            f"{archive} needs a program that unpacks .rar and none is installed: install unrar, unar, bsdtar "
            "(package libarchive-tools) or 7z, or unpack it by hand"
        )
    failures = []
    for name in installed:
        before, after = ([part.format(folder=folder.resolve()) for part in parts] for parts in UNPACKERS[name])
        done = subprocess.run(
            [name, *before, str(archive), *after],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode == 0 and any(folder.iterdir()):
            return
        words = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1].strip()
        failures.append(f"{name}: {words}")
        shutil.rmtree(folder)
        folder.mkdir()
    raise AdvvidError(
        f"{archive} cannot be unpacked ({'; '.join(failures)}): get the archive again, or install another of "
        f"{', '.join(UNPACKERS)}"
    )


def _refuse_odd(archive: Path, folder: Path) -> None:
    """Neither data set holds links or devices, and a link could lead later files out of the folder."""
    for path in folder.rglob("*"):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink > 1):
            raise AdvvidError(f"{archive} holds the link {path.name!r}: get the original archive")
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise AdvvidError(f"{archive} holds {path.name!r}, which is no file: get the original archive")


def refuse_link(path: Path) -> None:
    """Refuse to write into what is a link: it may lead anywhere.

    Raises:
        AdvvidError: naming the link and where it leads.
    """
    if path.is_symlink():
        raise AdvvidError(
            f"{path} is a link to {path.readlink()}, and nothing is written through links: remove it, or name the folder that "
            "it leads to as --out"
        )


def _merge(source: Path, folder: Path) -> None:
    """Move the files of ``source`` to the same places in ``folder``."""
    for path in sorted(source.rglob("*")):
        goal = folder / path.relative_to(source)
        refuse_link(goal)
        if path.is_dir():
            files.make_folder(goal)
        elif goal.is_dir():
            raise AdvvidError(f"{goal} is a folder, where the archive holds a file: remove it")
        else:
            path.replace(goal)


@dataclass(frozen=True)
class Comparison:
    """What lies in a folder of videos against what the lists name."""

    classes: int
    wanted_classes: int
    videos: int
    wanted_videos: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every listed video is there."""
        return not self.missing

    def __str__(self) -> str:
        parts = [f"{self.videos:,} of {self.wanted_videos:,} videos in {self.classes} of {self.wanted_classes} classes"]
        for names, what in ((self.missing, "missing"), (self.extra, "in no list")):
            if names:
                shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
                parts.append(f"{len(names):,} {what}: {shown}")
        return "; ".join(parts)


def compare(videos: Path, wanted: Iterable[str]) -> Comparison:
    """Hold the files ``<Class>/<video>`` under ``videos`` against the names of the lists; empty files are missing."""
    names = set(wanted)
    found = {
        f"{path.parent.name}/{path.name}"
        for path in videos.glob("*/*")
        if path.is_file() and path.stat().st_size and not path.name.startswith(".") and path.parent.name[0] != "."
    }
    present = names & found
    return Comparison(
        classes=len({name.split("/")[0] for name in present}),
        wanted_classes=len({name.split("/")[0] for name in names}),
        videos=len(present),
        wanted_videos=len(names),
        missing=tuple(sorted(names - found)),
        extra=tuple(sorted(found - names)),
    )


def ucf_names(lists: Path) -> list[str]:
    """Return every ``<Class>/<video>`` that the train and test lists of UCF101 name, over all splits.

    Raises:
        AdvvidError: if the folder has no such lists.
    """
    found = sorted(lists.glob("trainlist*.txt")) + sorted(lists.glob("testlist*.txt"))
    lines = {_named(file, line) for file in found for line in lines_of(file, "the archive of the lists")}
    if not lines:
        raise AdvvidError(f"{lists} holds no trainlist01.txt or testlist01.txt: unpack the split lists there")
    return sorted(lines)


def _named(file: Path, line: str) -> str:
    """Return the video that a line of a list names; copies are written under this name."""
    name = line.split()[0]
    if not stays_inside(name):
        raise AdvvidError(f"{file} names {ascii(name)[:100]}, which leads out of the folder: get the original lists")
    return name


def hmdb_names(lists: Path) -> list[str]:
    """Return every ``<class>/<video>`` that the lists of HMDB51 name, those that a split leaves out included.

    Raises:
        AdvvidError: if the folder has no such lists.
    """
    found = {(re.sub(r"_test_split\d+$", "", file.stem), file) for file in lists.glob("*_test_split?.txt")}
    names = {f"{c}/{_named(file, line)}" for c, file in found for line in lines_of(file, "the archive of the lists")}
    if not names:
        raise AdvvidError(f"{lists} holds no <class>_test_split1.txt: unpack the split lists there")
    return sorted(names)

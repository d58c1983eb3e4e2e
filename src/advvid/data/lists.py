"""The split lists of UCF101 and HMDB51, and of any data set in their layouts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from advvid.core.errors import AdvvidError
from advvid.core.escape import clipped

# Kinetics' lists are some 30 MB; a path is at most 4096 bytes long.
MOST_BYTES = 200_000_000
LONGEST_LINE = 5000


@dataclass(frozen=True)
class Entry:
    """A listed video, or a part of one.

    Args:
        path: below the folder of videos.
        label: number of its class.
        start: where the part begins, in seconds; None for the video's own start.
        end: where it ends; None for the video's own end.
    """

    path: str
    label: int
    start: float | None = None
    end: float | None = None

    @property
    def part(self) -> str:
        """Which part of the video, as ``@start-end``; nothing for all of it."""
        if self.start is None and self.end is None:
            return ""
        return f"@{self.start or 0:g}-{'' if self.end is None else f'{self.end:g}'}"

    @property
    def key(self) -> str:
        """Path and part."""
        return self.path + self.part

    @property
    def id(self) -> str:
        """``Class/name`` without the ending, and the part where it is one: the name in tables."""
        return self.path.rsplit(".", 1)[0] + self.part


@dataclass(frozen=True)
class Lists:
    """The classes and the videos of each split."""

    classes: list[str]
    splits: dict[str, list[Entry]]


def read_ucf101(folder: Path, split: int) -> Lists:
    """Read ``classInd.txt``, ``trainlistNN.txt``, ``testlistNN.txt`` and, where there is one, ``vallistNN.txt``.

    ``classInd.txt`` has a number and a name per line, in any order, from any number on and with gaps, or names alone. The
    labels of the other lists are these numbers (of names alone, their places counted from 0 or from 1), and may be left
    out, since the folder of a video names its class.

    Raises:
        AdvvidError: if a list is missing or a line contradicts ``classInd.txt``.
    """
    numbers = _ucf101_classes(folder / "classInd.txt")
    splits = {}
    for name, file in (("train", "trainlist"), ("test", "testlist"), ("val", "vallist")):
        path = folder / f"{file}{split:02d}.txt"
        if name != "val" or path.is_file():
            splits[name] = once(path, _ucf101_entries(path, numbers))
    return Lists(list(numbers), splits)


def _ucf101_classes(path: Path) -> dict[str, int | None]:
    """Return the number of each class, None where the file has names alone, in the order of the numbers."""
    lines = lines_of(path, f"the lists of {path.parent}")
    matches = [re.fullmatch(r"(\d{1,9})\s+(\S.*)", line) for line in lines]
    numbered = any(matches)
    found: dict[str, int | None] = {}
    taken: set[int | None] = set()
    for line, match in zip(lines, matches, strict=True):
        if numbered != (match is not None) or line.isdecimal():
            raise AdvvidError(f"{path} has the line {shown(line)}, which is not a number and a class: mend the list")
        number, name = (int(match[1]), match[2]) if match else (None, line)
        if name in found or (match and number in taken):
            raise AdvvidError(
                f"{path} has the line {shown(line)}, but its name or number stands there twice: mend the list"
            )
        if "/" in name or not stays_inside(name):
            raise AdvvidError(f"{path} has the line {shown(line)}, which is no name of a folder: mend the list")
        found[name] = number
        taken.add(number)
    return dict(sorted(found.items(), key=lambda item: -1 if item[1] is None else item[1]))


def once(place: Path, entries: Iterable[Entry], remedy: str = "mend the list") -> list[Entry]:
    """Return entries, none of which may share its id with another: a clip is scored once, under its own name.

    Args:
        place: the list or folder that they come from, for messages.
        entries: of one split.
        remedy: what to do where two share an id.

    Raises:
        AdvvidError: naming them.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        other = found.setdefault(entry.id, entry)
        if other is not entry:
            same = other.path == entry.path
            how = "twice" if same else f"as {shown(other.path)} and {shown(entry.path)}, which have one name in tables"
            raise AdvvidError(f"{place} has {shown(entry.id)} {how}: {remedy}")
    return list(found.values())


def stays_inside(path: str) -> bool:
    """Tell whether a listed path leads below its folder: it is not absolute, and no part of it is ``..`` or nothing.

    Example:
        >>> stays_inside("Archery/v_1.avi"), stays_inside("Archery/../../x.avi"), stays_inside("/etc/passwd")
        (True, False, False)
    """
    return "\0" not in path and not any(part in ("", ".", "..") for part in path.replace("\\", "/").split("/"))


def shown(text: str) -> str:
    """Return what stands in a list as a message quotes it."""
    return clipped(ascii(text), 120)


def _ucf101_entries(path: Path, numbers: Mapping[str, int | None]) -> Iterator[Entry]:
    places = {name: place for place, name in enumerate(numbers)}
    spelt = {name.casefold(): name for name in numbers}
    first: int | None = None  # what the place of a class without a number is counted from
    for line in lines_of(path, "dataset.split"):
        match = re.fullmatch(r"(?P<video>.+\.\w+)(\s+(?P<label>\d{1,9}))?", line)
        video = match["video"].replace("\\", "/") if match else line
        name = video.split("/", 1)[0]
        if match is None or "/" not in video or name not in places or not stays_inside(video):
            other = spelt.get(name.casefold())
            hint = f" (it has {other}, which differs only in case)" if other not in (None, name) else ""
            raise AdvvidError(
                f"{path} has the line {shown(line)}, which names no video of a class of classInd.txt{hint}: mend the list"
            )
        if match["label"] is not None:
            label, number = int(match["label"]), numbers[name]
            if number is None:
                first = first if first is not None else int(label != places[name])
                number = places[name] + first
            if label != number:
                says = (
                    f"says {number} for {name}"
                    if first is None
                    else f"has {name} in place {number}, counted from {first}"
                )
                raise AdvvidError(
                    f"{path} gives {shown(video)} the label {label}, but classInd.txt {says}: mend the list"
                )
        yield Entry(video, places[name])


def read_hmdb51(folder: Path, split: int) -> Lists:
    """Read ``<class>_test_splitN.txt``: a video and 1 (train), 2 (test) or 0 (neither) per line.

    Raises:
        AdvvidError: if there is no such list or a line is none of these.
    """
    files = sorted(folder.glob(f"*_test_split{split}.txt"))
    if not files:
        raise AdvvidError(
            f"{folder} has no <class>_test_split{split}.txt: choose dataset.split from 1 to 3, or another dataset.splits"
        )
    classes = [file.name.removesuffix(f"_test_split{split}.txt") for file in files]
    splits: dict[str, list[Entry]] = {"train": [], "test": []}
    for label, (name, file) in enumerate(zip(classes, files, strict=True)):
        for line in lines_of(file, "dataset.split"):
            video, _, flag = line.rpartition(" ")
            if flag not in ("0", "1", "2") or not video.strip() or "/" in video or not stays_inside(video.strip()):
                raise AdvvidError(
                    f"{file} has the line {shown(line)}, which is not a video and 0, 1 or 2: mend the list"
                )
            if flag != "0":
                splits["train" if flag == "1" else "test"].append(Entry(f"{name}/{video.strip()}", label))
    splits = {name: once(folder, entries) for name, entries in splits.items()}
    return Lists(classes, splits)


def lines_of(path: Path, remedy: str) -> list[str]:
    """Return the lines of a list that hold something; see ``numbered_lines``."""
    return [line for _, line in numbered_lines(path, remedy)]


def numbered_lines(path: Path, remedy: str) -> list[tuple[int, str]]:
    """Return the lines of a list that hold something, without their ends, each with its number in the file.

    A byte-order mark, as some editors write it, is no part of the first line.

    Raises:
        AdvvidError: if there is no such file, or it holds nothing, or what is no list.
    """
    try:
        if path.exists() and not path.is_file():
            raise AdvvidError(f"{path} is no file: check dataset.splits")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError:
        raise AdvvidError(f"there is no list {path}: check dataset.splits and {remedy}") from None
    text = content.decode("utf-8-sig", errors="surrogateescape")
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(content) > MOST_BYTES or max((len(line) for _, line in lines), default=0) > LONGEST_LINE:
        raise AdvvidError(f"{path} is no list of videos (it is too large, or a line is too long): check dataset.splits")
    if not lines:
        raise AdvvidError(f"the list {path} is empty: check dataset.splits")
    return lines

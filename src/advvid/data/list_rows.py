"""Lists of videos as people have them: a csv with a header, Kinetics' csv, or mmaction2's ``path label``."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from advvid.core.errors import AdvvidError
from advvid.data.lists import numbered_lines, shown

# What a column may be called, the first word being ours.
COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "video", "video_path"),
    "label": ("label", "class", "action", "category"),
    "start": ("start", "time_start", "start_time"),
    "end": ("end", "time_end", "end_time"),
    "split": ("split", "subset"),
    "id": ("youtube_id",),
}
# What a split may be called in a column or in the name of a list.
SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validate", "validation"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Row:
    """A line of a list.

    Args:
        place: the list and the number of the line, for messages.
        path: as it stands there; of Kinetics' lists, nothing.
        clip: of Kinetics' lists the id of the video at YouTube, else nothing.
        label: as it stands there.
        start: seconds, where the list says them.
        end: seconds, likewise.
        split: ``train``, ``val`` or ``test``, where the list says so.
    """

    place: str
    path: str
    clip: str
    label: str
    start: float | None = None
    end: float | None = None
    split: str | None = None


def read_rows(path: Path) -> list[Row]:
    """Read a list of videos.

    Three forms are known. A csv whose header names ``path`` and ``label`` and may name ``start``, ``end`` (seconds) and
    ``split`` (``train``, ``val`` or ``test``). Kinetics' csv with ``label,youtube_id,time_start,time_end,split``. Lines
    without a header of a path and a label, with a space, tab or comma between them, as mmaction2 has them.

    Raises:
        AdvvidError: naming the list, the line and what is wrong with it.

    Example:
        >>> read_rows(Path("list.txt"))[0]                       # doctest: +SKIP
        Row(place='list.txt, line 1', path='jump/a.mp4', clip='', label='0', ...)
    """
    lines = numbered_lines(path, "that it is the list of the videos")
    header = [cell.strip().casefold() for cell in next(csv.reader([lines[0][1]]))]
    places = {name: header.index(word) for name, words in COLUMNS.items() for word in words if word in header}
    known = "label" in places and ("path" in places or "id" in places)
    try:
        rows = list(_with_header(path, lines, places) if known else _without_header(path, lines))
    except (csv.Error, ValueError) as error:
        raise AdvvidError(f"{path} cannot be read as a csv ({error}): mend its quotation marks") from None
    if not rows:
        raise AdvvidError(f"{path} has a header and no video: check dataset.splits")
    return rows


def _with_header(path: Path, lines: Sequence[tuple[int, str]], places: Mapping[str, int]) -> Iterator[Row]:
    width = max(places.values())
    numbers, texts = zip(*lines[1:], strict=True) if len(lines) > 1 else ((), ())
    for number, cells in zip(numbers, csv.reader(texts), strict=True):
        place = f"{path}, line {number}"
        if len(cells) <= width:
            raise AdvvidError(
                f"{place}: {shown(','.join(cells))} has {len(cells)} columns, fewer than the header: mend it"
            )
        found = {name: cells[column].strip() for name, column in places.items()}
        split = found.get("split", "").casefold()
        known = next((name for name, words in SPLITS.items() if split in words), None)
        if split and known is None:
            raise AdvvidError(f"{place}: the split {shown(split)} is not known: write train, val or test")
        start, end = (_seconds(found.get(name, ""), f"{place}: {name}") for name in ("start", "end"))
        if end is not None and end <= (start or 0):
            raise AdvvidError(f"{place}: its end, {end:g} s, does not lie behind its start: mend it")
        row = Row(place, found.get("path", ""), found.get("id", ""), found["label"], start, end, known)
        if not row.label or not (row.path or row.clip):
            raise AdvvidError(f"{place}: it names no video or no label: mend it")
        yield row


def _without_header(path: Path, lines: Sequence[tuple[int, str]]) -> Iterator[Row]:
    for number, line in lines:
        match = re.fullmatch(r"(?P<path>.+\.\w{2,5})\s*[,;\s]\s*(?P<label>[^,;]+?)", line)
        if match is None:
            raise AdvvidError(
                f"{path}, line {number}: {shown(line)} is not a path of a video and a label: write them with a space or "
                "comma between them, or begin the list with path,label"
            )
        yield Row(f"{path}, line {number}", match["path"], "", match["label"])


def _seconds(text: str, place: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise AdvvidError(
            f"{place}={shown(text)} is no time: write seconds from the beginning of the video, such as 12.5"
        )
    return seconds


def lists_in(place: Path) -> list[tuple[str | None, Path]]:
    """Return the lists that ``dataset.splits`` names: a file, or those of a folder, each with its split where its name says it.

    In a folder the name of a list holds ``train``, ``val`` (``validate``, ``validation``) or ``test`` as a word, as in
    ``kinetics400_val_list_videos.txt``.

    Raises:
        AdvvidError: if there is none, or two for one split.
    """
    if place.is_file():
        return [(None, place)]
    if not place.is_dir():
        raise AdvvidError(f"dataset.splits={place} is no file or folder: give the list of the videos")
    found: dict[str, Path] = {}
    for path in sorted(place.iterdir()):
        words = re.split(r"[^a-z]+", path.stem.casefold()) if path.suffix.lower() in (".csv", ".txt") else []
        for split, known in SPLITS.items():
            if not set(known).isdisjoint(words):
                if split in found:
                    raise AdvvidError(
                        f"{place} holds two lists for the {split} split, {found[split].name} and {path.name}: leave one"
                    )
                found[split] = path
    if not found:
        raise AdvvidError(
            f"dataset.splits={place} holds no list whose name says train, val or test, such as train.csv: give the folder "
            "that does, or one list"
        )
    return list(found.items())

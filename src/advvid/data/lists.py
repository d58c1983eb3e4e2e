"""The split lists of UCF101 and HMDB51, and of any data set in their layouts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from advvid.batch import derive_seed
from advvid.errors import AdvvidError


@dataclass(frozen=True)
class Entry:
    """A listed video: its path below the folder of videos, its class and its name in tables."""

    path: str
    label: int

    @property
    def id(self) -> str:
        """``Class/name`` without the ending."""
        return self.path.rsplit(".", 1)[0]


@dataclass(frozen=True)
class Lists:
    """The classes and the videos of each split."""

    classes: list[str]
    splits: dict[str, list[Entry]]


def read_ucf101(folder: Path, split: int) -> Lists:
    """Read ``classInd.txt``, ``trainlistNN.txt``, ``testlistNN.txt`` and, where there is one, ``vallistNN.txt``.

    Lines may end in CRLF, the last one in nothing; labels count from 1 and may be left out, since the folder of a
    video names its class.

    Raises:
        AdvvidError: if a list is missing or a line contradicts ``classInd.txt``.
    """
    index = _lines(folder / "classInd.txt", f"the lists of {folder}")
    classes = [line.split(None, 1)[1].strip() for line in index]
    splits = {}
    for name, file in (("train", "trainlist"), ("test", "testlist"), ("val", "vallist")):
        path = folder / f"{file}{split:02d}.txt"
        if name != "val" or path.is_file():
            splits[name] = list(_ucf101_entries(path, classes))
    return Lists(classes, splits)


def _ucf101_entries(path: Path, classes: Sequence[str]) -> Iterator[Entry]:
    numbers = {name: i for i, name in enumerate(classes)}
    for line in _lines(path, "dataset.split"):
        match = re.fullmatch(r"(?P<video>.+\.\w+)(\s+(?P<label>\d+))?", line)
        video = match["video"].replace("\\", "/") if match else line
        name = video.split("/", 1)[0]
        if match is None or "/" not in video or name not in numbers:
            raise AdvvidError(
                f"{path} has the line {line!r}, which names no video of a class of classInd.txt: mend the list"
            )
        if match["label"] is not None and int(match["label"]) != numbers[name] + 1:
            raise AdvvidError(
                f"{path} gives {video} the label {match['label']}, but classInd.txt says {numbers[name] + 1} for {name}: mend the list"
            )
        yield Entry(video, numbers[name])


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
        for line in _lines(file, "dataset.split"):
            video, _, flag = line.rpartition(" ")
            if flag not in ("0", "1", "2") or not video:
                raise AdvvidError(f"{file} has the line {line!r}, which is not a video and 0, 1 or 2: mend the list")
            if flag != "0":
                splits["train" if flag == "1" else "test"].append(Entry(f"{name}/{video.strip()}", label))
    return Lists(classes, splits)


def _lines(path: Path, remedy: str) -> list[str]:
    """Return the lines of a file that hold something, without their ends."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        raise AdvvidError(f"there is no list {path}: check dataset.splits and {remedy}") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise AdvvidError(f"the list {path} is empty: check dataset.splits")
    return lines


def cut_validation(
    train: Sequence[Entry], classes: Sequence[str], fraction: float, seed: int, pattern: str | None
) -> tuple[list[Entry], list[Entry]]:
    """Cut a validation split from the training list, by groups that stay whole.

    Args:
        train: the training list.
        classes: their names.
        fraction: wanted share of each class, in (0, 1); a class with a single group stays in training.
        seed: of the choice of groups.
        pattern: a regular expression whose groups name a video's group; None for UCF101's ``_gNN_`` (within a class)
            and HMDB51's film before ``_<class>_``. A video that does not match is a group of its own.

    Returns:
        (training, validation), both in list order.
    """
    groups = [group_of(entry, classes[entry.label], pattern) for entry in train]
    chosen: set[str] = set()
    for label in range(len(classes)):
        own = [group for entry, group in zip(train, groups, strict=True) if entry.label == label]
        names = sorted(set(own))
        order = np.random.default_rng(derive_seed(seed, "validation", label)).permutation(len(names))
        wanted = max(1, round(fraction * len(own)))
        have = sum(group in chosen for group in own)
        for position in order:
            # A class keeps at least one group to train on.
            if have >= wanted or sum(name not in chosen for name in names) <= 1:
                break
            if names[position] not in chosen:
                chosen.add(names[position])
                have += own.count(names[position])
    kept = [e for e, g in zip(train, groups, strict=True) if g not in chosen]
    return kept, [e for e, g in zip(train, groups, strict=True) if g in chosen]


def group_of(entry: Entry, name: str, pattern: str | None) -> str:
    """Return the group (scene, film, person) that a video belongs to; see ``cut_validation``."""
    stem = entry.id.rsplit("/", 1)[-1]
    if pattern is not None:
        match = re.search(pattern, stem)
        return "/".join(match.groups() or [match[0]]) if match else stem
    match = re.search(r"_g(\d+)_c\d+$", stem)
    if match:
        return f"{name}/{match[1]}"
    film, found, _ = stem.partition(f"_{name}_")
    return film if found else stem

"""YouTube-8M's vocabulary: which label is what, and to which verticals it belongs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from advvid.core.errors import AdvvidError

FILE = "vocabulary.csv"
VERTICALS = ("Vertical1", "Vertical2", "Vertical3")


@dataclass(frozen=True)
class Vocabulary:
    """The labels that are classes of a run.

    Args:
        classes: their names, in the order of the labels.
        number: of the class that a label is; other labels are left out.
    """

    classes: tuple[str, ...]
    number: Mapping[int, int]


def plain(labels: int) -> Vocabulary:
    """Return labels 0 to ``labels - 1`` as classes named by their numbers."""
    return Vocabulary(tuple(map(str, range(labels))), {label: label for label in range(labels)})


def read_vocabulary(path: Path, verticals: Sequence[str]) -> Vocabulary:
    """Read YouTube-8M's ``vocabulary.csv``.

    Args:
        path: of the file; its columns ``Index``, ``Name`` and ``Vertical1`` to ``Vertical3`` are used. A file with some
            of the rows makes those labels the classes.
        verticals: classes are the labels that belong to any of these; all where there is none.

    Raises:
        AdvvidError: if the file cannot be read, or a vertical is unknown.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = sorted(((int(row["Index"]), row) for row in csv.DictReader(file)), key=lambda pair: pair[0])
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise AdvvidError(
            f"{path} cannot be read as YouTube-8M's vocabulary ({type(error).__name__}: {error}): give the published "
            "vocabulary.csv"
        ) from None
    known = {row.get(column) or "" for _, row in rows for column in VERTICALS} - {""}
    for name in verticals:
        if name not in known:
            raise AdvvidError(
                f"dataset.verticals has {name!r}, which {path} does not know: choose from {', '.join(sorted(known))}"
            )
    chosen = [
        (label, row.get("Name") or "")
        for label, row in rows
        if not verticals or any(row.get(column) in verticals for column in VERTICALS)
    ]
    names = [name for _, name in chosen]
    classes = tuple(name if name and names.count(name) == 1 else f"{name} ({label})".strip() for label, name in chosen)
    return Vocabulary(classes, {label: number for number, (label, _) in enumerate(chosen)})

"""What is wrong between the splits of a data set: videos that stand in two of them, classes that nothing is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from advvid.data.lists import Entry

SHOWN = 3


def findings(splits: Mapping[str, Sequence[Entry]], classes: Sequence[str]) -> dict[str, str]:
    """Return what is wrong between splits, in a sentence each, by the name of its check.

    ``overlap``: a video stands in two splits, whatever its ending, or under one name in two folders ``train/`` and
    ``test/``; of parts of a video, such as share a moment. A copy under another name is not found.
    ``untrained_class``: videos of a class are scored, but none is trained on.

    Example:
        >>> findings({"train": [Entry("a/1.avi", 0)], "test": [Entry("a/1.mp4", 0)]}, ["a"])
        {'overlap': '1 of the 1 videos for test are also in train, such as a/1'}
    """
    found = {}
    shared = [said for one, two in combinations(splits, 2) if (said := _shared(one, splits[one], two, splits[two]))]
    if shared:
        found["overlap"] = "; ".join(shared)
    if splits.get("train"):
        trained = {entry.label for entry in splits["train"]}
        names = [classes[label] for label in sorted({entry.label for entry in splits.get("test", [])} - trained)]
        if names:
            some = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
            found["untrained_class"] = (
                f"{len(names)} of the classes have videos for testing and none for training: {some}"
            )
    return found


def _shared(one: str, first: Sequence[Entry], two: str, second: Sequence[Entry]) -> str:
    parts: dict[str, list[Entry]] = {}
    for entry in first:
        parts.setdefault(_video(entry, one), []).append(entry)
    both = [entry.id for entry in second if any(_meet(entry, other) for other in parts.get(_video(entry, two), []))]
    some = ", ".join(both[:SHOWN]) + (", ..." if len(both) > SHOWN else "")
    return f"{len(both)} of the {len(second)} videos for {two} are also in {one}, such as {some}" if both else ""


def _video(entry: Entry, split: str) -> str:
    """Return what names a video: its path without its ending, below the folder of the split where it lies in one."""
    return entry.path.removeprefix(f"{split}/").rsplit(".", 1)[0]


def _meet(one: Entry, two: Entry) -> bool:
    ends = [float("inf") if entry.end is None else entry.end for entry in (one, two)]
    return (one.start or 0) < ends[1] and (two.start or 0) < ends[0]

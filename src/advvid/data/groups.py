"""Cutting a split from a list by groups (scenes, films, persons) that stay whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from advvid.core.batch import derive_seed
from advvid.core.errors import AdvvidError
from advvid.data.lists import Entry


def cut_split(
    entries: Sequence[Entry],
    classes: Sequence[str],
    fraction: float,
    seed: int,
    pattern: str | None,
    key: str = "validation",
) -> tuple[list[Entry], list[Entry]]:
    """Cut a split from a list, by groups that stay whole.

    Args:
        entries: the list.
        classes: their names.
        fraction: wanted share of each class, in (0, 1); a class with a single group stays in the list.
        seed: of the choice of groups.
        pattern: see ``group_of``.
        key: names the split, so that two cuts of one seed choose by themselves.

    Returns:
        (what is left of the list, the split), both in the order of the list.
    """
    groups = [group_of(entry, classes[entry.label], pattern) for entry in entries]
    chosen: set[str] = set()
    for label in range(len(classes)):
        own = [group for entry, group in zip(entries, groups, strict=True) if entry.label == label]
        names = sorted(set(own))
        order = np.random.default_rng(derive_seed(seed, key, label)).permutation(len(names))
        wanted = max(1, round(fraction * len(own)))
        have = sum(group in chosen for group in own)
        for position in order:
            # A class keeps at least one group to train on.
            if have >= wanted or sum(name not in chosen for name in names) <= 1:
                break
            if names[position] not in chosen:
                chosen.add(names[position])
                have += own.count(names[position])
    kept = [e for e, g in zip(entries, groups, strict=True) if g not in chosen]
    return kept, [e for e, g in zip(entries, groups, strict=True) if g in chosen]


def group_of(entry: Entry, name: str, pattern: str | None) -> str:
    r"""Return the group (scene, film, person) that a video belongs to.

    Args:
        entry: the video.
        name: of its class.
        pattern: a regular expression that is searched in the video's path below the folder of its class, without the
            ending; what its parentheses hold, else all of what it finds, names the group. None for UCF101's ``_gNN_cNN``
            (within a class) and HMDB51's film before ``_<class>_``. A video in which nothing is found is a group of its
            own.

    Example:
        >>> group_of(Entry("bend/bend_p03_m.avi", 0), "bend", r"_p(\d+)_"), group_of(Entry("a/x.avi", 0), "a", None)
        ('03', 'x')
    """
    inside = entry.path.rsplit(".", 1)[0].removeprefix(f"{name}/")
    stem = PurePosixPath(inside).name
    if pattern is not None:
        match = re.search(pattern, inside)
        return "/".join(part or "" for part in match.groups() or [match[0]]) if match else inside
    match = re.search(r"_g(\d+)_c\d+$", stem)
    if match:
        return f"{name}/{match[1]}"
    film, found, _ = stem.partition(f"_{name}_")
    return film if found else inside


def check_pattern(pattern: str | None) -> None:
    """Refuse a pattern of groups that is no regular expression.

    Raises:
        AdvvidError: with what is wrong with it.
    """
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise AdvvidError(f"dataset.group_pattern={pattern!r} is no regular expression: {error}") from None

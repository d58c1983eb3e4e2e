"""Taking a few of many, fairly."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest


def round_robin(labels: Sequence[int], limit: int | None) -> list[int]:
    """Return the positions of at most ``limit`` items: one of each class in turn, in list order, sorted.

    Example:
        >>> round_robin([0, 0, 0, 1, 2, 2], 4)
        [0, 1, 3, 4]
    """
    if limit is None or limit >= len(labels):
        return list(range(len(labels)))
    by_class: dict[int, list[int]] = {}
    for position, label in enumerate(labels):
        by_class.setdefault(label, []).append(position)
    rounds = zip_longest(*(by_class[label] for label in sorted(by_class)))
    turns = [position for turn in rounds for position in turn if position is not None]
    return sorted(turns[:limit])

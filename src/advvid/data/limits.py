"""Taking a few of many, fairly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from advvid.core.allowed import check_fields
from advvid.core.kinds import Count


@dataclass(kw_only=True, eq=False)
class Limited:
    """A data set, each of whose splits may be cut short.

    Args:
        limit_train: number of clips in total, taken fairly; None for all. Likewise the other two.
        limit_val: see ``limit_train``.
        limit_test: see ``limit_train``.

    Raises:
        AdvvidError: for a value of any field that its annotation does not allow.
    """

    limit_train: Count | None = None
    limit_val: Count | None = None
    limit_test: Count | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def limits(self) -> dict[str, int | None]:
        """Number of clips of each split at most; None for all."""
        return {"train": self.limit_train, "val": self.limit_val, "test": self.limit_test}


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

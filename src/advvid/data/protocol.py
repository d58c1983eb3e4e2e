"""What a data set owes a run, and the check of it before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.data.loader import Clips
from advvid.tasks.base import DatasetTask


class Dataset(Protocol):
    """A data set as its configuration makes it: nothing is read until ``prepare``.

    Any class with these members is one; there is nothing to inherit. ``docs/how-to/extend.md`` has a whole example.

    Example:
        >>> data: Dataset = Motion(limit_test=10)
        >>> data.prepare()
        >>> clip, label, name = data.split("test")[0]
        >>> clip.shape, data.classes[label]
        (torch.Size([3, 8, 32, 32]), 'Circle')
    """

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, K, in the order of the labels; known by the end of ``prepare``, empty where nothing is classified."""

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """Shape of one clip, ``(3, T, H, W)``, or of one input of another kind, such as ``(T, F)`` of features."""

    @property
    def task(self) -> DatasetTask:
        """What is asked of a model, such as ``Classification()``."""

    @property
    def space(self) -> Space:
        """The interval of the values that attacks and models see: ``Space()``, [0, 1], for clips, which are read as uint8."""

    @property
    def views(self) -> int:
        """Clips of each video in testing, at least 1, one after the other along time; a model averages its answers to them."""

    @property
    def missing(self) -> Mapping[str, Sequence[str]]:
        """Ids of the videos that a split lists but cannot give, by the split's name; a table names them. Empty where none are."""

    def prepare(self) -> None:
        """Make sure that everything can be read, and make what is made on first use; called once, before ``split``.

        Raises:
            AdvvidError: naming what is missing, and the option that says where it is.
        """

    def split(self, name: str) -> Clips:
        """Return the split ``train``, ``val`` or ``test``; no clip, group or person is in two of them.

        Each has ``ids``, unique texts, ``targets``, a label for each clip, a length, and items by number: see ``Clips``.
        """


def _texts(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(item, str) for item in value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


# What each member must be, and how that is said.
MEMBERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "classes": (_texts, "a list of names"),
    "clip_shape": (
        lambda v: isinstance(v, tuple) and len(v) > 0 and all(map(_whole, v)),
        "a tuple of whole numbers, such as (3, 16, 112, 112)",
    ),
    "task": (
        lambda v: all(hasattr(v, name) for name in ("loss", "correct", "predict", "metrics", "output")),
        "a task such as advvid.tasks.Classification()",
    ),
    "space": (lambda v: isinstance(v, Space), "a Space of values such as Space(), [0, 1]"),
    "views": (_whole, "a whole number of at least 1"),
    "missing": (lambda v: isinstance(v, Mapping), "a dictionary from a split's name to ids, {} where none are missing"),
    "prepare": (callable, "a method prepare()"),
    "split": (callable, "a method split(name)"),
}


def require_dataset(found: Any) -> Dataset:
    """Return what ``dataset`` made, after holding it against ``Dataset``; nothing of it is called.

    Raises:
        AdvvidError: naming everything that it lacks or has otherwise, in one sentence.
    """
    wrong = [
        f"{name} ({words})" if not hasattr(found, name) else f"{name} as {words}, not {getattr(found, name)!r}"
        for name, (fits, words) in MEMBERS.items()
        if not hasattr(found, name) or not fits(getattr(found, name))
    ]
    if wrong:
        kind = type(found)
        raise AdvvidError(
            f"dataset._target_={kind.__module__}.{kind.__qualname__} is no data set, for it lacks {'; '.join(wrong)}: give the "
            "class what advvid.data.Dataset lists, or choose another dataset"
        )
    data: Dataset = found
    return data

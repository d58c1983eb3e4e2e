"""A folder per class: any videos, without lists."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from advvid.core.errors import AdvvidError
from advvid.core.kinds import FilePath
from advvid.core.paths import user_path
from advvid.data.groups import cut_split
from advvid.data.list_rows import SPLITS
from advvid.data.lists import Entry, Lists
from advvid.data.reading import Fraction, Reading
from advvid.data.video_files import VideoFiles

log = logging.getLogger(__name__)

# Endings of files that are taken for videos, in any case.
ENDINGS = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})  # fmt: skip


@dataclass(kw_only=True, eq=False)
class ClassFolders(Reading, VideoFiles):
    r"""Videos of any ending below a folder per class.

    Where ``root`` holds the folders ``train`` and ``test`` or ``val``, each with a folder per class, these are the splits.
    A folder ``test`` alone is scored as a whole, for a network that was trained elsewhere. Otherwise the class folders lie
    in ``root`` itself, and the splits are cut by group, seeded: ``test_fraction`` of each class first, then
    ``val_fraction`` of what is left. A class folder may have folders inside. Names that begin with a dot and files of other
    endings are passed over.

    Args:
        root: the folder of the class folders, or of ``train``, ``val`` and ``test``.
        splits: must be None: there are no lists.
        test_fraction: share of the videos cut off for testing, by group, where there are no such folders.

    Raises:
        AdvvidError: for a root that holds no videos in class folders, or two names for one class or video.

    Example:
        >>> data = ClassFolders(root="clips", group_pattern=r"person(\d+)")     # doctest: +SKIP
        >>> data.prepare()                                                       # doctest: +SKIP
        >>> data.classes, len(data.split("train"))                               # doctest: +SKIP
        (['jump', 'run'], 84)
    """

    root: FilePath | None = None
    splits: FilePath | None = None
    test_fraction: Fraction = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.root is None:
            raise AdvvidError("dataset=folder needs dataset.root=<folder with a folder of videos for each class>")
        if self.splits is not None:
            raise AdvvidError("dataset=folder has no lists: leave dataset.splits=null, or choose dataset=csv or ucf101")
        self.videos = user_path(self.root)
        if not self.videos.is_dir():
            raise AdvvidError(f"dataset.root={self.root} is not a folder: give the folder with a folder for each class")
        self._begin(self)

    def lists(self) -> Lists:
        """Return the classes and videos that the folders hold."""
        tops = {folder.name.casefold(): folder for folder in _folders(self.videos)}
        splits = {name: [tops[word] for word in words if word in tops] for name, words in SPLITS.items()}
        if splits["train"] and (splits["val"] or splits["test"]) and any(map(_folders, splits["train"])):
            return self._given(splits)
        if splits["test"] == list(tops.values()) and any(map(_folders, splits["test"])):
            return self._given(splits)
        found = _videos(self.videos, self.videos)
        classes = _classes(found, self.videos)
        entries = [Entry(path, number) for number, name in enumerate(classes) for path in found[name]]
        train, test = cut_split(entries, classes, self.test_fraction, self.seed, self.group_pattern, "test")
        return Lists(classes, {"train": train, "test": test})

    def _given(self, places: dict[str, list[Path]]) -> Lists:
        """Return the splits that stand as folders at the top."""
        for name, folders in places.items():
            if len(folders) > 1:
                names = " and ".join(folder.name for folder in folders)
                raise AdvvidError(f"{self.videos} holds the folders {names}: leave one as the {name} split")
        found = {name: _videos(folder, self.videos) for name, folders in places.items() for folder in folders}
        classes = _classes({kind for videos in found.values() for kind in videos}, self.videos)
        listed = {n: [Entry(p, i) for i, kind in enumerate(classes) for p in v.get(kind, [])] for n, v in found.items()}
        return Lists(classes, {"train": [], "test": []} | listed)

    def _remedy_of_twins(self) -> str:
        return "rename one of them, or leave one if they are the same video"

    def _remedy_of_empty(self, name: str) -> str:
        if name == "test":
            return "put videos into a folder test, raise dataset.test_fraction, or score evaluation.split=val"
        return "put videos into its folders, or give another dataset.root"


def _folders(place: Path) -> list[Path]:
    return sorted(item for item in place.iterdir() if item.is_dir() and not item.name.startswith("."))


def _videos(place: Path, root: Path) -> dict[str, list[str]]:
    """Return the paths of the videos below ``root`` by the class folder in ``place`` that they lie in, each sorted."""
    found, other = {}, Counter[str]()
    for folder in _folders(place):
        files = list(files_below(folder))
        videos = [path for path in files if path.suffix.lower() in ENDINGS]
        other.update(path.suffix.lower() or "no ending" for path in files if path.suffix.lower() not in ENDINGS)
        if videos:
            found[folder.name] = sorted(path.relative_to(root).as_posix() for path in videos)
        else:
            log.warning("%s holds no video and is no class", folder)
    if other:
        said = ", ".join(f"{ending} ({count})" for ending, count in other.most_common(5))
        log.info("files in the class folders of %s that are no videos are passed over: %s", place, said)
    return found


def files_below(folder: Path, seen: set[str] | None = None) -> Iterator[Path]:
    """Yield every file below a folder, but names that begin with a dot; each folder once, wherever links lead."""
    real, seen = os.path.realpath(folder), set() if seen is None else seen
    if real in seen:
        return
    seen.add(real)
    for item in sorted(folder.iterdir()):
        if item.name.startswith("."):
            continue
        if item.is_dir():
            yield from files_below(item, seen)
        else:
            yield item


def _classes(found: Iterable[str], root: Path) -> list[str]:
    """Return the names of the classes, sorted.

    Raises:
        AdvvidError: if there are fewer than two, or two differ only in case.
    """
    classes = sorted(found)
    spelt: dict[str, str] = {}
    for name in classes:
        other = spelt.setdefault(name.casefold(), name)
        if other != name:
            raise AdvvidError(f"the class folders {other} and {name} in {root} differ only in case: rename one of them")
    if len(classes) < 2:
        inside = f"only {classes[0]}" if classes else "none"
        raise AdvvidError(
            f"dataset.root={root} needs folders of videos for two classes or more, and has {inside}: give the folder that "
            "holds a folder for each class"
        )
    return classes

"""Videos that a list names: csv, Kinetics' csv, mmaction2's lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from advvid.core.errors import AdvvidError
from advvid.core.kinds import FilePath
from advvid.core.paths import user_path
from advvid.data.class_folders import ENDINGS, files_below
from advvid.data.groups import cut_split
from advvid.data.list_rows import Row, lists_in, read_rows
from advvid.data.lists import Entry, Lists, lines_of, shown, stays_inside
from advvid.data.reading import Fraction, Reading
from advvid.data.video_files import VideoFiles

# More classes than any data set has; a number beyond is an id.
MOST_CLASSES = 100_000


@dataclass(kw_only=True, eq=False)
class VideoList(Reading, VideoFiles):
    """Videos, or parts of videos, that a csv or text file names.

    See ``advvid.data.list_rows.read_rows`` for the forms of a list. Labels are names, or numbers from 0 whose names
    stand in ``class_names``. Videos of Kinetics' lists are found anywhere below ``root`` under the names that the usual tools
    give them: ``<id>_<start>_<end>`` with six digits each, which is the part already, or ``<id>``, from which it is cut.

    Args:
        root: the folder that the paths of the list start from; None for the list's own folder. An absolute path in the
            list has to lie below it: ``dataset.root=/`` allows all.
        splits: the list, or a folder of lists whose names say ``train``, ``val`` or ``test``. Where nothing says which
            videos are for testing or validation, they are cut by group, seeded.
        class_names: a file with the name of a class per line, in the order of the numbers; None where labels are names, or for
            the numbers as names.
        test_fraction: share of the videos cut off for testing where neither column nor file names a split.

    Raises:
        AdvvidError: for a list that cannot be read.
    """

    root: FilePath | None = None
    splits: FilePath | None = None
    class_names: FilePath | None = None
    test_fraction: Fraction = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.splits is None:
            raise AdvvidError(
                "dataset=csv needs dataset.splits=<list of the videos>, and dataset.root=<folder of the videos> where its "
                "paths start from another folder than its own"
            )
        self.list = user_path(self.splits)
        beside = self.list if self.list.is_dir() else self.list.parent
        self.videos = user_path(self.root) if self.root is not None else beside
        if not self.videos.is_dir():
            raise AdvvidError(
                f"dataset.root={self.root} is not a folder: give the folder that the list's paths start from"
            )
        self._begin(self)

    def lists(self) -> Lists:
        """Return the classes and videos that the list names."""
        rows = [(row, row.split or split) for split, path in lists_in(self.list) for row in read_rows(path)]
        classes, number = self._classes([row for row, _ in rows])
        index = self._index() if any(row.clip for row, _ in rows) else {}
        entries: dict[str | None, list[Entry]] = {}
        for row, split in rows:
            found = self._kinetics(row, number[row.label], index) if row.clip else self._entry(row, number[row.label])
            entries.setdefault(split, []).append(found)
        loose = entries.pop(None, [])
        if loose and entries:
            raise AdvvidError(
                f"{self.list} names a split for some videos alone, not for {loose[0].id}: name it for all"
            )
        if loose:
            train, test = cut_split(loose, classes, self.test_fraction, self.seed, self.group_pattern, "test")
            return Lists(classes, {"train": train, "test": test})
        return Lists(classes, {"train": [], "test": []} | {str(name): found for name, found in entries.items()})

    def _classes(self, rows: Sequence[Row]) -> tuple[list[str], dict[str, int]]:
        """Return the names of the classes and the number of each label."""
        labels = sorted({row.label for row in rows})
        numbers = all(label.isdecimal() and label.isascii() for label in labels)
        if self.class_names is not None:
            names = lines_of(user_path(self.class_names), "dataset.class_names")
            known = {name: i for i, name in reversed(list(enumerate(names)))}
            if len(known) < len(names):
                raise AdvvidError(f"dataset.class_names={self.class_names} has a name twice: mend it")
            number = {label: known.get(label, int(label) if numbers else len(names)) for label in labels}
        elif numbers:
            number = {label: int(label) for label in labels}
            far = max(rows, key=lambda row: number[row.label])
            if number[far.label] > MOST_CLASSES:
                raise AdvvidError(
                    f"{far.place}: the label {shown(far.label)} is no number of a class: number them from 0, or give names"
                )
            names = [str(i) for i in range(max(number.values()) + 1)]
        else:
            names, number = labels, {label: i for i, label in enumerate(labels)}
        wrong = next((row for row in rows if number[row.label] >= len(names)), None)
        if wrong is not None:
            raise AdvvidError(
                f"{wrong.place}: the label {shown(wrong.label)} is none of the {len(names)} of dataset.class_names: mend one"
            )
        if len(names) < 2:
            raise AdvvidError(f"{self.list} has the one class {names[0]}: a classifier needs two or more")
        return names, number

    def _entry(self, row: Row, label: int) -> Entry:
        path = PurePosixPath(row.path.replace("\\", "/"))
        if path.is_absolute():
            top = PurePosixPath(self.videos.resolve().as_posix())
            if not path.is_relative_to(top):
                raise AdvvidError(
                    f"{row.place}: {shown(row.path)} does not lie below dataset.root={self.videos}: give a root that holds it"
                )
            path = path.relative_to(top)
        if not stays_inside(path.as_posix()):
            raise AdvvidError(f"{row.place}: {shown(row.path)} leads out of the folder of the videos: mend it")
        return Entry(path.as_posix(), label, row.start, row.end)

    def _index(self) -> dict[str, list[str]]:
        """Return the videos below the root by their names without the ending."""
        found: dict[str, list[str]] = {}
        for path in files_below(self.videos):
            if path.suffix.lower() in ENDINGS:
                found.setdefault(path.stem, []).append(path.relative_to(self.videos).as_posix())
        return found

    def _kinetics(self, row: Row, label: int, index: Mapping[str, Sequence[str]]) -> Entry:
        trimmed = f"{row.clip}_{round(row.start or 0):06d}_{round(row.end or 0):06d}"
        for name, start, end in ((trimmed, None, None), (row.clip, row.start, row.end)):
            if name in index:
                # The test lists have the same video under several classes' folders in some copies.
                own = [path for path in index[name] if row.label in Path(path).parts] or index[name]
                if len(own) > 1:
                    raise AdvvidError(f"{row.place}: both {own[0]} and {own[1]} are called {name}: leave one")
                return Entry(own[0], label, start, end)
        return Entry(f"{row.label}/{trimmed}.mp4", label)  # which the scan reports as missing

    def _remedy_of_empty(self, name: str) -> str:
        if name == "test":
            return "name videos for testing in the list, or score evaluation.split=val"
        return "check dataset.root and dataset.splits"

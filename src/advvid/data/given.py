"""Video files named on the command line, cut exactly as a checkpoint's data set cuts its test clips."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from advvid.config.instantiate import checked_plan, find_target
from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.core.paths import user_path
from advvid.data.content import of_videos
from advvid.data.file_view import UNKNOWN, FileView
from advvid.data.loader import Item
from advvid.data.scan import problem
from advvid.tasks.classification import Classification

SHOWN = 10


class GivenFiles:
    """A data set of the named files alone; the folder that the checkpoint was trained on need not be there.

    Args:
        node: configuration of the checkpoint's data set; its clip length, stride, size and decoder count.
        files: the videos, in any container that the decoder reads.
        labels: a class name for each file, or None for what is not known; None for none at all.
        classes: of the checkpoint.

    Raises:
        AdvvidError: for a missing file, a label that is no class, or a data set that is not made of video files.
    """

    space = Space()
    task = Classification()

    def __init__(
        self,
        node: DictConfig,
        files: str | Sequence[str],
        labels: str | Sequence[str | None] | None,
        classes: Sequence[str],
    ) -> None:
        self.classes, self.missing = list(classes), dict[str, list[str]]()
        self.view = _view(node)
        self.clip_shape, self.views = (3, self.view.frames, self.view.size, self.view.size), self.view.views
        self.paths = [user_path(str(file)) for file in ([files] if isinstance(files, str) else files)]
        if not self.paths:
            raise AdvvidError("files=[] names no file: write files=[a.avi,b.mp4], or leave it out for the data set")
        absent = [str(path) for path in self.paths if not path.is_file()]
        if absent:
            raise AdvvidError(f"files={', '.join(absent)} does not exist or is no file: give paths of video files")
        seen: set[Path] = set()
        for path in self.paths:
            if path.resolve() in seen:
                raise AdvvidError(f"{path} stands twice in files: name each video once")
            seen.add(path.resolve())
        self.ids, self.targets = _names(self.paths), _targets(labels, len(self.paths), self.classes)

    def prepare(self) -> None:
        """Look at every file; its clip is decoded when its turn comes, so that a list may be long.

        Raises:
            AdvvidError: naming every broken file and what is wrong with it.
        """
        bad = {path: problem(path, self.view.decoder) for path in self.paths}
        broken = [f"{path} ({wrong})" for path, wrong in bad.items() if wrong]
        if broken:
            raise _unusable(", ".join(broken))

    def rate(self, index: int) -> Fraction:
        """Return the frames per second of a file's clip."""
        return self.view.rate(self.paths[index])

    def split(self, name: str) -> GivenFiles:
        """Return the files, which stand for any split."""
        return self

    def digests(self) -> list[str]:
        """Return the content of each file with how it is cut; see ``advvid.data.content.clip_digests``."""
        return of_videos(self.paths, self.view.decoder, *self.view.rests_on)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        """Return (clip uint8 ``[3, views * T, size, size]``, label or -1, id)."""
        index = key[0] if isinstance(key, tuple) else key
        try:
            return self.view.clip(self.paths[index]), self.targets[index], self.ids[index]
        except (AdvvidError, ValueError):
            raise _unusable(f"{self.paths[index]} (undecodable: frames of its clip are missing)") from None


def _unusable(named: str) -> AdvvidError:
    return AdvvidError(f"files={named} cannot be used: give videos that play to their end")


def _view(node: DictConfig) -> FileView:
    target = find_target(node.get("_target_"), "dataset")
    make = getattr(target, "file_view", None)
    if make is None:
        raise AdvvidError(
            f"files=... needs a checkpoint that was trained on videos, but its data set is {node.get('_target_')}, which has no "
            "file_view: leave files out to attack that data set's own test clips"
        )
    checked_plan(node, ("root",))  # the data themselves are not needed
    settings: Any = OmegaConf.to_container(node, resolve=True)
    view: FileView = make(settings)
    return view


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each file: its own without the ending, with a number where two share it."""
    names: dict[str, None] = {}
    numbers: dict[str, int] = {}
    for path in paths:
        name, number = path.stem, numbers.get(path.stem, 2)
        while name in names:
            name, number = f"{path.stem}_{number}", number + 1
        names[name], numbers[path.stem] = None, number
    return list(names)


def _targets(labels: str | Sequence[str | None] | None, count: int, classes: Sequence[str]) -> list[int]:
    """Return the class number of each file, -1 where it is not told.

    Raises:
        AdvvidError: if there is not one label per file, or one names no class.
    """
    given = [None] * count if labels is None else [labels] if isinstance(labels, str) else list(labels)
    if len(given) != count:
        raise AdvvidError(
            f"labels has {len(given)} names for {count} files: give one class per file, null for one that is not known"
        )
    known = {name.casefold(): i for i, name in reversed(list(enumerate(classes)))} | {
        n: i for i, n in enumerate(classes)
    }
    targets = []
    for label in given:
        if label is not None and str(label) not in known and str(label).casefold() not in known:
            near = difflib.get_close_matches(
                str(label).casefold(), [name.casefold() for name in classes], n=1, cutoff=0.5
            )
            some = ", ".join(classes[:SHOWN]) + (", ..." if len(classes) > SHOWN else "")
            raise AdvvidError(
                f"the checkpoint knows no class {str(label)!r}: "
                + (f"did you mean {classes[known[near[0]]]}?" if near else f"choose from its {len(classes)} ({some})")
            )
        targets.append(UNKNOWN if label is None else known.get(str(label), known.get(str(label).casefold(), UNKNOWN)))
    return targets

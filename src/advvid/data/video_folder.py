"""UCF101, HMDB51 and any data set in their layouts: folders of videos and split lists."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path

from advvid.batch import Space
from advvid.data.cache import FrameCache
from advvid.data.clips import Cut, VideoClips
from advvid.data.decoders import check_decoder
from advvid.data.limits import round_robin
from advvid.data.lists import Entry, Lists, cut_validation, read_hmdb51, read_ucf101
from advvid.data.loader import worker_count
from advvid.data.scan import scan
from advvid.errors import AdvvidError
from advvid.tasks.classification import Classification

log = logging.getLogger(__name__)

# Where each data set comes from, the folders it usually lies in, and those of its lists.
LAYOUTS = {
    "ucf101": {
        "home": "UCF101 comes from the Center for Research in Computer Vision (crcv.ucf.edu), see scripts/prepare_ucf101.py",
        "videos": (".", "UCF-101", "videos"),
        "lists": ("ucfTrainTestlist", "../ucfTrainTestlist", "."),
    },
    "hmdb51": {
        "home": "HMDB51 comes from the Serre lab at Brown University, see scripts/prepare_hmdb51.py",
        "videos": (".", "hmdb51_org", "videos"),
        "lists": ("testTrainMulti_7030_splits", "../testTrainMulti_7030_splits", "splits", "."),
    },
}


class VideoFolder:
    """Video files below a folder per class, with split lists in the layout of UCF101 or HMDB51.

    Args:
        layout: ``ucf101`` or ``hmdb51``: how the lists are written.
        root: the folder of the class folders (or the one above it).
        splits: the folder of the lists; None for the usual places beside the videos.
        split: 1 to 3.
        frames: of a clip.
        stride: between its frames, at the video's own rate; a short video starts again at its end.
        size: side of the clips; budgets live at this resolution.
        short_side: to which frames are resized before cropping to ``size``; None for ``size``.
        flip: probability of a mirrored training clip.
        scale: area range of a random resized crop in training, such as [0.25, 1]; None for a random crop.
        val_fraction: share of the training list cut off for validation, by group, unless ``vallistNN.txt`` exists.
        group_pattern: regular expression that finds a video's group; None for the layout's own.
        seed: of the validation cut.
        limit_train: number of videos in total, round-robin over the classes; None for all. Likewise the other two.
        limit_val: see ``limit_train``.
        limit_test: see ``limit_train``.
        test_clips: clips per video in testing, spread evenly; their logits are averaged inside the model.
        on_error: ``raise`` names every missing or undecodable video before anything starts; ``skip`` goes on without.
        decoder: ``decord``, ``pyav`` or ``torchcodec``.
        workers: loader processes; ``auto`` starts one per core.
        cache: folder in which decoded frames are kept for later epochs and runs (see ``advvid.data.cache``); None for
            none. Of a training video all frames are kept, at ``short_side`` (with ``scale``, at full size); of the
            others the clips that are scored. The clips are the same bit for bit with and without it.
        cache_gb: bound on that folder; what does not fit is decoded each time.

    Raises:
        AdvvidError: for impossible settings.
    """

    space = Space()
    task = Classification()

    def __init__(
        self, layout: str = "ucf101", root: str | None = None, splits: str | None = None, split: int = 1, frames: int = 16,
        stride: int = 1, size: int = 112, short_side: int | None = None, flip: float = 0.5,
        scale: Sequence[float] | None = None, val_fraction: float = 0.1, group_pattern: str | None = None, seed: int = 0,
        limit_train: int | None = None, limit_val: int | None = None, limit_test: int | None = None, test_clips: int = 1,
        on_error: str = "raise", decoder: str = "decord", workers: int | str = "auto", cache: str | None = None,
        cache_gb: float = 50,
    ) -> None:  # fmt: skip
        self.layout, self.split_number, self.on_error, self.workers = layout, split, on_error, worker_count(workers)
        counts = {"frames": frames, "stride": stride, "size": size, "test_clips": test_clips, "split": split}
        for name, value in counts.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise AdvvidError(f"dataset.{name}={value!r} is not possible: choose a whole number of at least 1")
        if split > 3:
            raise AdvvidError(f"dataset.split={split} does not exist: choose 1, 2 or 3")
        if short_side is not None and short_side < size:
            raise AdvvidError(
                f"dataset.short_side={short_side} is smaller than dataset.size={size}: raise it, or leave it null"
            )
        if on_error not in ("raise", "skip"):
            raise AdvvidError(f"dataset.on_error={on_error!r} is not known: choose raise or skip")
        if not 0 <= flip <= 1 or not 0 < val_fraction < 1:
            raise AdvvidError(
                f"dataset.flip={flip} must lie in [0, 1] and dataset.val_fraction={val_fraction} between 0 and 1"
            )
        if scale is not None and not (len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1):
            raise AdvvidError(f"dataset.scale={list(scale)} is no range of areas: write two numbers such as [0.25, 1]")
        if group_pattern is not None:
            try:
                re.compile(group_pattern)
            except re.error as error:
                raise AdvvidError(
                    f"dataset.group_pattern={group_pattern!r} is no regular expression: {error}"
                ) from None
        if isinstance(cache_gb, bool) or not isinstance(cache_gb, int | float) or not 0 < cache_gb < math.inf:
            raise AdvvidError(f"dataset.cache_gb={cache_gb!r} is not possible: choose a number of gigabytes above 0")
        self.cache_folder, self.cache_gb = None if cache is None else Path(cache), cache_gb
        self._cache: FrameCache | None = None
        check_decoder(decoder)
        if root is None:
            raise AdvvidError(
                f"dataset={layout} needs dataset.root=<folder of the class folders>: {LAYOUTS[layout]['home']}"
            )
        self.given_root, self.given_splits = Path(root).expanduser(), splits
        area = None if scale is None else (float(scale[0]), float(scale[1]))
        self.cut = Cut(frames, stride, size, short_side or size, flip, area, test_clips, decoder)
        self.limits = {"train": limit_train, "val": limit_val, "test": limit_test}
        self.val_fraction, self.group_pattern, self.seed = val_fraction, group_pattern, seed
        self.clip_shape, self.views = (3, frames, size, size), test_clips
        self.missing: dict[str, list[str]] = {}
        self._entries: dict[str, list[Entry]] = {}
        if not self.given_root.is_dir():
            raise AdvvidError(f"dataset.root={root} is not a folder: {LAYOUTS[layout]['home']}")
        lists = self._lists()
        self.classes = lists.classes
        self.root = self._videos()
        splits_ = dict(lists.splits)
        if "val" not in splits_:
            splits_["train"], splits_["val"] = cut_validation(
                splits_["train"], self.classes, val_fraction, seed, group_pattern
            )  # fmt: skip
        self._listed = splits_

    def _lists(self) -> Lists:
        read = read_ucf101 if self.layout == "ucf101" else read_hmdb51
        sign = "classInd.txt" if self.layout == "ucf101" else f"*_test_split{self.split_number}.txt"
        other, mark = ("hmdb51", "*_test_split*.txt") if self.layout == "ucf101" else ("ucf101", "classInd.txt")
        places = [self.given_root / p for p in LAYOUTS[self.layout]["lists"]]
        if self.given_splits is not None:
            places = [Path(self.given_splits).expanduser()]
            if not places[0].is_dir():
                raise AdvvidError(
                    f"dataset.splits={self.given_splits} is not a folder: give the folder of the split lists"
                )
        for place in places:
            if list(place.glob(sign)):
                return read(place, self.split_number)
        if any(list(place.glob(mark)) for place in places if place.is_dir()):
            raise AdvvidError(f"the lists of dataset.splits are in the layout of {other}: choose dataset={other}")
        raise AdvvidError(
            f"no split lists ({sign}) were found in {', '.join(map(str, places))}: give their folder as dataset.splits"
        )

    def _videos(self) -> Path:
        """Return the folder that the class folders lie in."""
        for place in LAYOUTS[self.layout]["videos"]:
            if any((self.given_root / place / name).is_dir() for name in self.classes):
                return (self.given_root / place).resolve()
        raise AdvvidError(
            f"dataset.root={self.given_root} has no folder named after a class (such as {self.classes[0]}): give the folder "
            "of the class folders"
        )

    def prepare(self) -> None:
        """Look at every listed video, once; later runs remember the sound ones.

        Raises:
            AdvvidError: naming what is missing or broken, unless ``on_error=skip``.
        """
        if self.cache_folder is not None:
            self._cache = FrameCache(self.cache_folder, self.cache_gb)
        strict = self.on_error == "raise"
        entries = {n: self._limited(n, listed) if strict else listed for n, listed in self._listed.items()}
        bad = scan(self.root, [e.path for listed in entries.values() for e in listed], self.cut.decoder)
        if bad and strict:
            names = [f"{path} ({wrong})" for path, wrong in bad.items()]
            total = sum(map(len, entries.values()))
            raise AdvvidError(
                f"{len(bad)} of the {total} listed videos below {self.root} cannot be used: {', '.join(names[:10])}"
                f"{', ...' if len(names) > 10 else ''}; put them there, or go on without them by dataset.on_error=skip"
            )
        for name, listed in entries.items():
            self.missing[name] = [e.id for e in listed if e.path in bad]
            self._entries[name] = self._limited(name, [e for e in listed if e.path not in bad])
        if bad:
            log.warning(
                "%d of the listed videos cannot be used and are left out, such as %s", len(bad), next(iter(bad))
            )

    def _limited(self, name: str, entries: Sequence[Entry]) -> list[Entry]:
        return [entries[i] for i in round_robin([e.label for e in entries], self.limits[name])]

    def split(self, name: str) -> VideoClips:
        """Return a split.

        Raises:
            AdvvidError: if no readable video is left in it; validation may be empty, with a warning.
        """
        if not self._entries:
            self.prepare()
        if not self._entries[name]:
            if name != "val":
                raise AdvvidError(
                    f"no readable video is left in the {name} split of {self.root}: check dataset.root and dataset.splits"
                )
            log.warning(
                "no readable video is left for validation: nothing is watched, and the last checkpoint is the best"
            )
        return VideoClips(self.root, self._entries[name], self.cut, self._cache)

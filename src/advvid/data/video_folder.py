"""UCF101, HMDB51 and any data set in their layouts: folders of videos and split lists."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Gt, Le, Lt

from advvid.core.allowed import checked
from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, FilePath, Positive, Seed, Share
from advvid.core.paths import user_path
from advvid.data.cache import FrameCache
from advvid.data.clips import Cut, VideoClips
from advvid.data.decoders import Decoder, check_decoder
from advvid.data.limits import round_robin
from advvid.data.lists import Entry, Lists, cut_validation, read_hmdb51, read_ucf101
from advvid.data.loader import Workers, worker_count
from advvid.data.scan import scan
from advvid.tasks.classification import Classification

log = logging.getLogger(__name__)

# Where each data set comes from, the folders it usually lies in, and those of its lists.
# Part of a frame that is cut out.
Area = Annotated[float, Gt(0), Le(1)]
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


@checked
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
        self,
        layout: Literal["ucf101", "hmdb51"] = "ucf101",
        root: FilePath | None = None,
        splits: FilePath | None = None,
        split: Literal[1, 2, 3] = 1,
        frames: Count = 16,
        stride: Count = 1,
        size: Count = 112,
        short_side: Count | None = None,
        flip: Share = 0.5,
        scale: tuple[Area, Area] | None = None,
        val_fraction: Annotated[float, Gt(0), Lt(1)] = 0.1,
        group_pattern: str | None = None,
        seed: Seed = 0,
        limit_train: Count | None = None,
        limit_val: Count | None = None,
        limit_test: Count | None = None,
        test_clips: Count = 1,
        on_error: Literal["raise", "skip"] = "raise",
        decoder: Decoder = "decord",
        workers: Workers = "auto",
        cache: FilePath | None = None,
        cache_gb: Positive = 50,
    ) -> None:
        self.layout, self.split_number, self.on_error, self.workers = layout, split, on_error, worker_count(workers)
        if short_side is not None and short_side < size:
            raise AdvvidError(
                f"dataset.short_side={short_side} is smaller than dataset.size={size}: raise it, or leave it null"
            )
        if scale is not None and not scale[0] <= scale[1]:
            raise AdvvidError(f"dataset.scale={list(scale)} is no range of areas: write two numbers such as [0.25, 1]")
        if group_pattern is not None:
            try:
                re.compile(group_pattern)
            except re.error as error:
                raise AdvvidError(
                    f"dataset.group_pattern={group_pattern!r} is no regular expression: {error}"
                ) from None
        self.cache_folder, self.cache_gb = None if cache is None else Path(cache), cache_gb
        self._cache: FrameCache | None = None
        check_decoder(decoder)
        if root is None:
            raise AdvvidError(
                f"dataset={layout} needs dataset.root=<folder of the class folders>: {LAYOUTS[layout]['home']}"
            )
        self.given_root, self.given_splits = user_path(root), splits
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
            places = [user_path(self.given_splits)]
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

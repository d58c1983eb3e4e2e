"""UCF101, HMDB51 and any data set in their layouts: folders of videos and split lists."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from advvid.core.allowed import checked
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, FilePath, Positive, Seed, Share
from advvid.core.paths import user_path
from advvid.data.decoders import Decoder
from advvid.data.lists import Lists, read_hmdb51, read_ucf101
from advvid.data.loader import Workers
from advvid.data.reading import Area, Fraction, Reading, Stride
from advvid.data.video_files import VideoFiles

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


@checked
class VideoFolder(VideoFiles):
    """Video files below a folder per class, with split lists in the layout of UCF101 or HMDB51.

    Args:
        layout: ``ucf101`` or ``hmdb51``: how the lists are written.
        root: the folder of the class folders (or the one above it).
        splits: the folder of the lists; None for the usual places beside the videos.
        split: 1 to 3.
        name: see ``advvid.data.reading.Reading``, as for all that follow. Of the training list ``val_fraction`` is cut
            off unless ``vallistNN.txt`` exists.
        frames: see there.
        stride: see there.
        size: see there.
        short_side: see there.
        flip: see there.
        scale: see there.
        val_fraction: see there.
        group_pattern: see there.
        seed: see there.
        limit_train: see there.
        limit_val: see there.
        limit_test: see there.
        test_clips: see there.
        allow_overlap: see there.
        on_error: see there.
        decoder: see there.
        workers: see there.
        cache: see there.
        cache_gb: see there.

    Raises:
        AdvvidError: for impossible settings.
    """

    def __init__(
        self,
        layout: Literal["ucf101", "hmdb51"] = "ucf101",
        root: FilePath | None = None,
        splits: FilePath | None = None,
        split: Literal[1, 2, 3] = 1,
        name: str | None = None,
        frames: Count = 16,
        stride: Stride = 1,
        size: Count = 112,
        short_side: Count | None = None,
        flip: Share = 0.5,
        scale: tuple[Area, Area] | None = None,
        val_fraction: Fraction = 0.1,
        group_pattern: str | None = None,
        seed: Seed = 0,
        limit_train: Count | None = None,
        limit_val: Count | None = None,
        limit_test: Count | None = None,
        test_clips: Count = 1,
        allow_overlap: bool = False,
        on_error: Literal["raise", "skip"] = "raise",
        decoder: Decoder = "decord",
        workers: Workers = "auto",
        cache: FilePath | Literal["auto"] | None = None,
        cache_gb: Positive = 50,
    ) -> None:
        self._begin(
            Reading(
                name=name,
                frames=frames,
                stride=stride,
                size=size,
                short_side=short_side,
                flip=flip,
                scale=scale,
                val_fraction=val_fraction,
                group_pattern=group_pattern,
                seed=seed,
                limit_train=limit_train,
                limit_val=limit_val,
                limit_test=limit_test,
                test_clips=test_clips,
                allow_overlap=allow_overlap,
                on_error=on_error,
                decoder=decoder,
                workers=workers,
                cache=cache,
                cache_gb=cache_gb,
            )
        )
        self.layout, self.split_number = layout, split
        if root is None:
            raise AdvvidError(
                f"dataset={layout} needs dataset.root=<folder of the class folders>: {LAYOUTS[layout]['home']}"
            )
        self.given_root, self.given_splits = user_path(root), splits
        if not self.given_root.is_dir():
            raise AdvvidError(f"dataset.root={root} is not a folder: {LAYOUTS[layout]['home']}")
        self._read = self._find_lists()
        self.classes = self._read.classes
        self.videos = self._find_videos()

    def lists(self) -> Lists:
        """Return the lists, which are read when the data set is made."""
        return self._read

    def _find_lists(self) -> Lists:
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

    def _find_videos(self) -> Path:
        """Return the folder that the class folders lie in."""
        spelt = {item.name.casefold(): item.name for item in self.given_root.iterdir()}
        for place in LAYOUTS[self.layout]["videos"]:
            if any((self.given_root / place / name).is_dir() for name in self.classes):
                return (self.given_root / place).resolve()
        other = next((spelt[name.casefold()] for name in self.classes if name.casefold() in spelt), None)
        hint = "" if other is None else f"; it has {other}, which differs only in case"
        raise AdvvidError(
            f"dataset.root={self.given_root} has no folder named after a class (such as {self.classes[0]}{hint}): give the folder "
            "of the class folders"
        )

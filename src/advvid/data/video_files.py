"""What every data set of video files does: it looks at the files once, and hands out splits of clips."""

from __future__ import annotations

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.data.auto_cache import auto_cache
from advvid.data.cache import FrameCache
from advvid.data.clips import VideoClips
from advvid.data.coming import Coming
from advvid.data.decoders import decodes_on_gpu
from advvid.data.file_view import UNKNOWN, FileView
from advvid.data.groups import cut_split
from advvid.data.leaks import findings
from advvid.data.limits import round_robin
from advvid.data.lists import Entry, Lists, once
from advvid.data.reading import Reading
from advvid.data.scan import scan
from advvid.tasks.classification import Classification

log = logging.getLogger(__name__)


class VideoFiles(ABC):
    """A data set of video files below a folder.

    A class of this kind says in ``lists`` which videos there are, and calls ``_begin`` when it is made.
    """

    space = Space()
    task = Classification()
    videos: Path  # the folder that the entries' paths start from
    classes: list[str]

    def _begin(self, reading: Reading) -> None:
        """Take the options that say how files are read and cut."""
        self.reading = reading
        self.workers, self.views = reading.workers, reading.test_clips
        self.clip_shape = (3, reading.frames, reading.size, reading.size)
        self.classes, self.missing = [], dict[str, list[str]]()
        self.findings: dict[str, str] = {}  # what a table has to state, by the name of its check
        self._entries: dict[str, list[Entry]] = {}
        self._readers: dict[str, str] = {}
        self._cache: FrameCache | None = None
        self.coming = Coming()  # whoever trains says more before ``prepare``

    @classmethod
    def file_view(cls, settings: Mapping[str, Any]) -> FileView:
        """Return how the data set turns a file into clips.

        Args:
            settings: options of the configuration; those of reading and cutting count.
        """
        names = {option.name for option in dataclasses.fields(Reading)}
        cut = Reading(**{name: value for name, value in settings.items() if name in names}).cut
        none = VideoClips(Path(), [], cut)
        return FileView(
            frames=cut.frames,
            step=cut.step,
            size=cut.size,
            views=cut.views,
            decoder=cut.decoder,
            rests_on=(cut.frames, cut.stride, cut.size, cut.short_side, cut.views),
            clip=lambda path: VideoClips(path.parent, [Entry(path.name, UNKNOWN)], cut)[0][0],
            shown=none.shown,
        )

    @abstractmethod
    def lists(self) -> Lists:
        """Return the classes and the videos of the splits; where validation is missing it is cut from training.

        Raises:
            AdvvidError: naming what is wrong with the lists or folders.
        """

    def prepare(self) -> None:
        """Look at every listed video, once; later runs remember the sound ones.

        Raises:
            AdvvidError: naming what is missing or broken, unless ``on_error=skip``.
        """
        listed = self._splits()
        how = self.reading
        if how.cache not in (None, "auto"):
            self._cache = FrameCache(Path(how.cache), how.cache_gb)
        strict = how.on_error == "raise"
        entries = {name: self._limited(name, found) if strict else found for name, found in listed.items()}
        if how.decoder == "auto" and decodes_on_gpu() and not how.hardware:
            log.info(
                "this GPU decodes videos, but loader processes cannot use it: a CPU does, unless dataset.workers=0"
            )
        wanted = [e for found in entries.values() for e in found]
        bad, self._readers = scan(self.videos, wanted, how.decoder, how.hardware)
        if bad and strict:
            names = [f"{path} ({wrong})" for path, wrong in bad.items()]
            total = sum(map(len, entries.values()))
            raise AdvvidError(
                f"{len(bad)} of the {total} listed videos below {self.videos} cannot be used: {', '.join(names[:10])}"
                f"{', ...' if len(names) > 10 else ''}; put them there, or go on without them by dataset.on_error=skip"
            )
        for name, found in entries.items():
            self.missing[name] = [e.id for e in found if e.key in bad]
            self._entries[name] = self._limited(name, [e for e in found if e.key not in bad])
        if how.cache == "auto":
            self._cache = auto_cache(
                {name: self._clips(name) for name in self._entries}, how.cache_gb, self.coming.epochs
            )
        if bad:
            log.warning(
                "%d of the listed videos cannot be used and are left out, such as %s", len(bad), next(iter(bad))
            )

    def _splits(self) -> dict[str, list[Entry]]:
        lists, how = self.lists(), self.reading
        self.classes, splits = lists.classes, dict(lists.splits)
        splits = {name: once(self.videos, entries, self._remedy_of_twins()) for name, entries in splits.items()}
        self.findings = findings(splits, self.classes)
        if "overlap" in self.findings and not how.allow_overlap:
            raise AdvvidError(
                f"{self.findings['overlap']}: what was trained on tells nothing when it is scored; leave each in one split, or "
                "go on by dataset.allow_overlap=true, which the table states"
            )
        for said in self.findings.values():
            log.warning("%s", said)
        if "val" not in splits:
            splits["train"], splits["val"] = cut_split(
                splits["train"], self.classes, how.val_fraction, how.seed, how.group_pattern
            )
        return {"train": [], "val": [], "test": []} | splits

    def _limited(self, name: str, entries: Sequence[Entry]) -> list[Entry]:
        return [entries[i] for i in round_robin([e.label for e in entries], self.reading.limits[name])]

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
                    f"no readable video is left in the {name} split of {self.videos}: {self._remedy_of_empty(name)}"
                )
            log.warning(
                "no readable video is left for validation: nothing is watched, and the last checkpoint is the best"
            )
        return self._clips(name)

    def _clips(self, name: str) -> VideoClips:
        entries = self._entries[name]
        readers = {e.key: self._readers[e.key] for e in entries}
        coming = dataclasses.replace(self.coming, scored=len(self._entries["val"])) if name == "train" else Coming()
        return VideoClips(self.videos, entries, self.reading.cut, self._cache, readers, coming)

    def _remedy_of_twins(self) -> str:
        return "mend the list"

    def _remedy_of_empty(self, name: str) -> str:
        return "check dataset.root and dataset.splits"

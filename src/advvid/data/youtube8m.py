"""YouTube-8M's frame-level features: TFRecord files in, padded features with several labels out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.utils.data import Dataset

from advvid.core import digests
from advvid.core.batch import derive_seed
from advvid.core.errors import AdvvidError
from advvid.core.features import FrameFeatures
from advvid.core.kinds import Count, FilePath, Seed, Whole
from advvid.core.paths import cache_dir, user_path
from advvid.data import tfrecord
from advvid.data.feature_index import Index, index
from advvid.data.limits import Limited, round_robin
from advvid.data.loader import Workers
from advvid.data.vocabulary import FILE, Vocabulary, plain, read_vocabulary
from advvid.tasks.multi_label import MultiLabel

log = logging.getLogger(__name__)

STREAMS = {"rgb": 1024, "audio": 128}
WIDTH = sum(STREAMS.values())
LONGEST = 300


def dequantise(values: Tensor) -> Tensor:
    """Return uint8 features as float32 in [-2, 2], as YouTube-8M's own reader does.

    ``4 q / 255 + 4 / 512 - 2``, but that the largest value, which the formula takes to 2.0078, is 2. No byte becomes
    zero, so that zeros can stand for padding.

    Example:
        >>> dequantise(torch.tensor([0, 255], dtype=torch.uint8))
        tensor([-1.9922,  2.0000])
    """
    return (values.float() * (4 / 255) + (4 / 512 - 2)).clamp_max_(2.0)


class FeatureClips(Dataset[tuple[Tensor, Tensor, str]]):
    """The videos of a split; frames are read when they are asked for.

    Args:
        source: where all videos lie.
        numbers: of the videos of this split.
        classes: the class of each label.
        frames: that every video is cut or padded to.
    """

    def __init__(self, source: Index, numbers: Sequence[int], classes: Vocabulary, frames: int) -> None:
        self.source, self.numbers, self.classes, self.frames = source, list(numbers), classes, frames
        self.ids = [str(source.ids[number]) for number in self.numbers]

    @property
    def targets(self) -> Tensor:
        """All targets, bool ``[n, K]``."""
        return torch.stack([self._target(number) for number in self.numbers])

    def __len__(self) -> int:
        return len(self.numbers)

    def digests(self) -> list[str]:
        """Return the checksum that each video's record carries; see ``advvid.data.content.clip_digests``."""
        marks = (tfrecord.checksum(*self.source.place(number)) for number in self.numbers)
        return [digests.of_values(mark, self.frames, list(STREAMS)) for mark in marks]

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, Tensor, str]:
        """Return (features float32 ``[T, 1152]``, target bool ``[K]``, id); nothing is drawn at random.

        Raises:
            AdvvidError: if the record is damaged or holds something else.
        """
        position = key[0] if isinstance(key, tuple) else key
        number = self.numbers[position]
        path, place = self.source.place(number)
        where = f"the record of video {self.ids[position]} in {path}"
        lists = tfrecord.parse(tfrecord.read(path, place), where).feature_lists.feature_list
        streams = [_stream(lists, name, self.frames, where) for name in STREAMS]
        if len({len(stream) for stream in streams}) > 1 or not len(streams[0]):
            raise AdvvidError(
                f"{where} has {' and '.join(f'{len(s)} frames of {n}' for n, s in zip(STREAMS, streams, strict=True))}: "
                "get the file again"
            )
        features = torch.zeros(self.frames, WIDTH)
        features[: len(streams[0])] = dequantise(torch.from_numpy(np.concatenate(streams, axis=1)))
        return features, self._target(number), self.ids[position]

    def _target(self, number: int) -> Tensor:
        target = torch.zeros(len(self.classes.classes), dtype=torch.bool)
        target[[self.classes.number[label] for label in _known(self.source, number, self.classes)]] = True
        return target


@dataclass(kw_only=True, eq=False)
class YouTube8M(Limited):
    """YouTube-8M, frame level (Abu-El-Haija et al. 2016): 1024 values of pictures and 128 of sound for each second.

    Videos of the files ``train*.tfrecord`` are for training. Those of ``validate*.tfrecord`` are divided at random into
    validation and test, as Choudhary et al. do (sec. 3.1); the published test files have no labels.

    Args:
        root: folder with the files, in it or below it.
        splits: must be None: the files' names decide.
        vocabulary: the published ``vocabulary.csv``, or one with some of its rows to make those labels the classes;
            None for the one in ``root``, where there is one.
        verticals: only the labels of these, such as ``[Finance]``; videos without any of them are left out.
        labels: number of labels, where there is no vocabulary (2018's: 3862).
        frames: that every video is cut or padded to with zeros; 300 is the longest.
        partition: the part of the test split that is scored, from 0 on; None for all of it.
        partitions: number of such parts, which share no video (the paper: five); see also ``MultiLabel.metrics``.
        val_videos: videos of ``validate*`` that are for validation (the paper: 64,000).
        seed: of that choice.
        limit_train: number of videos in total, round-robin over their first class; None for all. Likewise the others.
        limit_val: see ``limit_train``.
        limit_test: see ``limit_train``.
        workers: loader processes.

    Raises:
        AdvvidError: for impossible settings; ``prepare`` for files that are missing or damaged.

    Example:
        >>> YouTube8M(frames=300).clip_shape
        (300, 1152)
    """

    space: ClassVar[FrameFeatures] = FrameFeatures(sizes=tuple(STREAMS.values()))
    views: ClassVar[int] = 1

    root: FilePath | None = None
    splits: str | None = None
    vocabulary: FilePath | None = None
    verticals: Sequence[str] = ()
    labels: Annotated[int, Ge(2)] = 3862
    frames: Annotated[int, Ge(1), Le(300)] = LONGEST
    partition: Whole | None = None
    partitions: Count = 5
    val_videos: Count = 64_000
    seed: Seed = 0
    workers: Workers = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.splits is not None:
            raise AdvvidError("YouTube-8M's files are divided by their names: leave dataset.splits=null")
        if self.partition is not None and self.partition >= self.partitions:
            raise AdvvidError(f"dataset.partition={self.partition} must be null or 0 to {self.partitions - 1}")
        self.task = MultiLabel(partitions=self.partitions if self.partition is None else 1)
        self.clip_shape = (self.frames, WIDTH)
        self.classes: list[str] = []  # known once the vocabulary is read
        self.missing: dict[str, list[str]] = {}
        self._indices: dict[str, Index] = {}

    def prepare(self) -> None:
        """Find the files, read the vocabulary and index the videos; the index is kept for the next run.

        Raises:
            AdvvidError: if files are missing, cut off or of another kind.
        """
        self._vocabulary = self._read_vocabulary()
        self.classes = list(self._vocabulary.classes)
        for kind in ("train", "validate"):
            self._index(kind)

    def split(self, name: str) -> FeatureClips:
        """Return a split; frames stay on the disk until they are asked for."""
        source = self._index("train" if name == "train" else "validate")
        numbers: Sequence[int] = range(len(source))
        if name != "train":
            order = sorted(numbers, key=lambda i: derive_seed(self.seed, "val", source.ids[i]))
            # Sorted again, so that the split follows the files.
            numbers = sorted(order[: self.val_videos] if name == "val" else order[self.val_videos :])
        known = [number for number in numbers if _known(source, number, self._vocabulary)]
        if len(known) < len(numbers):
            log.info("%s: %d of %d videos have labels among the classes", name, len(known), len(numbers))
        if name == "test" and self.partition is not None:
            known = known[self.partition :: self.partitions]
        first = [self._vocabulary.number[_known(source, number, self._vocabulary)[0]] for number in known]
        chosen = [known[position] for position in round_robin(first, self.limits[name])]
        if not chosen:
            raise AdvvidError(
                f"no video is left for {name}: lower dataset.val_videos={self.val_videos}, or choose other "
                "dataset.verticals"
            )
        return FeatureClips(source, chosen, self._vocabulary, self.frames)

    def _read_vocabulary(self) -> Vocabulary:
        path = self._folder / FILE if self.vocabulary is None else user_path(self.vocabulary)
        if self.vocabulary is not None or path.is_file():
            return read_vocabulary(path, list(self.verticals))
        if self.verticals:
            raise AdvvidError(
                f"dataset.verticals needs YouTube-8M's vocabulary.csv: put it into {self._folder} or give dataset.vocabulary"
            )
        return plain(self.labels)

    @property
    def _folder(self) -> Path:
        if self.root is None:
            raise AdvvidError(
                "dataset=youtube8m needs dataset.root=<folder with YouTube-8M's frame-level train*.tfrecord and "
                "validate*.tfrecord> (research.google.com/youtube8m), or take dataset=youtube8m_mini, which needs no files"
            )
        return user_path(self.root)

    def _index(self, kind: str) -> Index:
        if kind not in self._indices:
            files = sorted(self._folder.rglob(f"{kind}*.tfrecord"))
            if not files:
                raise AdvvidError(
                    f"dataset.root={self._folder} holds no {kind}*.tfrecord: give the folder with YouTube-8M's frame-level "
                    "files of both train and validate"
                )
            self._indices[kind] = index(files, cache_dir() / "feature_index")
        return self._indices[kind]


def _known(source: Index, number: int, classes: Vocabulary) -> list[int]:
    return [label for label in source.labels_of(number).tolist() if label in classes.number]


def _stream(
    lists: Mapping[str, object], name: str, frames: int, where: str
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return a stream's frames, uint8 ``[n, size]``, at most so many."""
    size = STREAMS[name]
    rows = [feature.bytes_list.value for feature in lists[name].feature[:frames]]  # type: ignore[attr-defined]
    if any(len(row) != 1 or len(row[0]) != size for row in rows):
        raise AdvvidError(f"{where} has frames of {name} that are not {size} bytes long: give frame-level files")
    return np.frombuffer(b"".join(row[0] for row in rows), dtype=np.uint8).reshape(-1, size)

"""Data sets of pictures as clips of one frame: CIFAR-10, and scikit-learn's digits as its embedded stand-in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.core.kinds import FilePath, Seed, Share, Whole
from advvid.core.paths import user_path
from advvid.data.image_clips import ImageClips, cut, resize_pictures
from advvid.data.limits import Limited, round_robin
from advvid.data.loader import Workers
from advvid.tasks.classification import Classification

CIFAR_FOLDER = "cifar-10-batches-py"


@dataclass(kw_only=True, eq=False)
class Images(Limited, ABC):
    """What data sets of pictures have in common; a subclass reads the pictures of a split.

    Args:
        root: where the files are, for data sets that have files.
        splits: must be None: the splits come with the data.
        size: side of the frames; budgets live at this resolution.
        shift: largest random shift of a training picture in pixels.
        flip: probability of a mirrored training picture.
        val_fraction: share of the training pictures kept for validation, the same of every class.
        seed: of the random splits.
        limit_train: number of pictures in total, round-robin over the classes; None for all. Likewise the other two.
        limit_val: see ``limit_train``.
        limit_test: see ``limit_train``.
        workers: loader processes; the pictures are in memory, so that 0 is best.

    Raises:
        AdvvidError: for settings that are impossible.
    """

    space: ClassVar[Space] = Space()
    task: ClassVar[Classification] = Classification()
    views: ClassVar[int] = 1
    name: ClassVar[str]
    names: ClassVar[Sequence[str]]

    root: FilePath | None = None
    splits: str | None = None
    size: Annotated[int, Ge(8), Le(4096)] = 32
    shift: Whole = 0
    flip: Share = 0.0
    val_fraction: Annotated[float, Gt(0), Lt(1)] = 0.1
    seed: Seed = 0
    workers: Workers = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.splits is not None:
            raise AdvvidError(f"{self.name} has splits of its own: leave dataset.splits=null")
        self.classes, self.clip_shape = list(self.names), (3, 1, self.size, self.size)
        self.missing: dict[str, list[str]] = {}

    def prepare(self) -> None:
        """Make sure that the pictures can be read."""

    def split(self, name: str) -> ImageClips:
        """Return a split, in memory."""
        pictures, labels, ids = self._read(name)
        chosen = round_robin(labels, self.limits[name])
        return ImageClips(
            resize_pictures(pictures[chosen], self.size),
            [labels[i] for i in chosen],
            [ids[i] for i in chosen],
            self.shift,
            self.flip,
        )

    @abstractmethod
    def _read(self, split: str) -> tuple[Tensor, list[int], list[str]]:
        """Return the pictures uint8 ``[n, 3, H, W]``, labels and ids of a split, ``train``, ``val`` or ``test``."""


class Digits(Images):
    """Scikit-learn's handwritten digits: 1797 grey pictures of 8 x 8, enlarged, in three equal channels.

    Alpaydin & Kaynak 1998. They come with scikit-learn. 20 % of each class are for testing, ``val_fraction`` of the
    whole for validation. See ``Images`` for the arguments.

    Example:
        >>> Digits(limit_test=50).split("test")[0][0].shape
        torch.Size([3, 1, 32, 32])
    """

    name = "digits"
    names = tuple(map(str, range(10)))

    def _read(self, split: str) -> tuple[Tensor, list[int], list[str]]:
        grey, labels = load_grey()
        test, val, train = cut(labels, [0.2, self.val_fraction], self.seed, self.name)
        chosen = {"train": train, "val": val, "test": test}[split]
        pictures = (grey[chosen].float() * 255 / 16).round().to(torch.uint8)
        ids = [f"{labels[i]}/digit_{i:04d}" for i in chosen]
        return pictures[:, None].expand(-1, 3, -1, -1), [labels[i] for i in chosen], ids


class CIFAR10(Images):
    """CIFAR-10 (Krizhevsky 2009; Lo & Patel's slides): 50,000 and 10,000 colour pictures of 32 x 32 in ten classes.

    ``root`` is the folder that holds ``cifar-10-batches-py``, the unpacked archive of the Python version; torchvision
    reads it and checks every file. Nothing is ever fetched. See ``Images`` for the other arguments.
    """

    name = "cifar10"
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def prepare(self) -> None:
        """Make sure that the files are there and whole.

        Raises:
            AdvvidError: if they are not.
        """
        if self.root is None:
            raise AdvvidError(
                f"dataset=cifar10 needs dataset.root=<folder with {CIFAR_FOLDER} in it>: unpack the Python version of "
                "CIFAR-10 (www.cs.toronto.edu/~kriz/cifar.html) there, or take dataset=digits, which needs no files"
            )
        self._files("test")

    def _files(self, split: str) -> tuple[Tensor, list[int]]:
        from torchvision import datasets

        assert self.root is not None
        root = user_path(self.root)
        folder = root.parent if root.name == CIFAR_FOLDER else root
        try:
            files = datasets.CIFAR10(str(folder), train=split != "test", download=False)
        except (RuntimeError, OSError) as error:
            raise AdvvidError(
                f"dataset.root={root} does not hold CIFAR-10 whole ({str(error).splitlines()[0]}): unpack the archive "
                f"of its Python version there, so that {folder / CIFAR_FOLDER}/data_batch_1 exists"
            ) from None
        if files.classes != list(self.classes):
            raise AdvvidError(f"dataset.root={root} names other classes than CIFAR-10's: unpack the archive again")
        return torch.from_numpy(files.data).permute(0, 3, 1, 2), [int(label) for label in files.targets]

    def _read(self, split: str) -> tuple[Tensor, list[int], list[str]]:
        pictures, labels = self._files(split)
        chosen = list(range(len(labels)))
        if split != "test":
            val, train = cut(labels, [self.val_fraction], self.seed, self.name)
            chosen = train if split == "train" else val
        source = "test" if split == "test" else "train"
        ids = [f"{self.classes[labels[i]]}/{source}_{i:05d}" for i in chosen]
        return pictures[chosen], [labels[i] for i in chosen], ids


def load_grey() -> tuple[Tensor, list[int]]:
    """Return scikit-learn's digits, uint8 ``[1797, 8, 8]`` from 0 to 16, and their labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return torch.from_numpy(found.images).to(torch.uint8), [int(label) for label in found.target]

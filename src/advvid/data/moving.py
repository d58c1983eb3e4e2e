"""Moving-MNIST and its embedded stand-in: clips with the frames that follow as what is to be predicted."""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from advvid.core import digests, files
from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.core.kinds import FilePath, Seed
from advvid.core.locks import locked
from advvid.core.paths import cache_dir, user_path
from advvid.data import moving_digits as recipe
from advvid.data.limits import Limited
from advvid.data.loader import Workers
from advvid.tasks.next_frame import NextFrame

log = logging.getLogger(__name__)

FILE = "mnist_test_seq.npy"


class MovingClips(Dataset[tuple[Tensor, Tensor, str]]):
    """Sequences of a memory-mapped file, each cut into a clip and, one frame later, its target.

    Args:
        videos: uint8 ``[T, N, 64, 64]``.
        numbers: of the sequences of this split.
        frames: of a clip and of its target.
        size: side of the frames, which are averaged down.
        channels: 1, or 3 equal ones.
    """

    def __init__(self, videos: recipe.Frames, numbers: Sequence[int], frames: int, size: int, channels: int) -> None:
        self.videos, self.numbers, self.frames, self.size, self.channels = videos, numbers, frames, size, channels
        self.ids = [f"sequence_{number:05d}" for number in numbers]

    @property
    def targets(self) -> Tensor:
        """All targets of testing, uint8 ``[n, C, T, size, size]``."""
        return torch.stack([self[index][1] for index in range(len(self))])

    def __len__(self) -> int:
        return len(self.numbers)

    def digests(self) -> list[str]:
        """Return what each sequence of testing holds; see ``advvid.data.content.clip_digests``."""
        cut = (self.frames, self.size, self.channels)
        part = self.videos[: self.frames + 1]
        return [digests.of_values(digests.of_array(np.array(part[:, number])), *cut) for number in self.numbers]

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, Tensor, str]:
        """Return (clip uint8 ``[C, T, size, size]``, target of the same shape, id).

        Testing takes a sequence's first frames; training, where the key has a seed, any.
        """
        index, draw = key if isinstance(key, tuple) else (key, None)
        start = 0
        if draw is not None:
            room = len(self.videos) - self.frames
            start = int(torch.randint(room, (), generator=torch.Generator().manual_seed(draw)))
        video = torch.from_numpy(np.array(self.videos[start : start + self.frames + 1, self.numbers[index]]))
        if self.size != recipe.SIDE:
            video = F.avg_pool2d(video[:, None].float(), recipe.SIDE // self.size)[:, 0].round().to(torch.uint8)
        video = video.expand(self.channels, *video.shape)
        return video[:, :-1].contiguous(), video[:, 1:].contiguous(), self.ids[index]


@dataclass(kw_only=True, eq=False)
class MovingMNIST(Limited):
    """Moving-MNIST (Srivastava et al. 2015): 10,000 sequences of two digits in 20 frames of 64 x 64.

    The clip is a sequence's first ``frames`` frames, the target the same ones a frame later (Mu et al., DeepSAVA,
    app. C.1). The published file is one list, of which the first 80 % are for training here, 10 % for validation and
    10 % for testing.

    Args:
        root: the file ``mnist_test_seq.npy``, or the folder that holds it.
        splits: must be None: a sequence's place in the file decides.
        frames: of a clip, at most 19.
        size: side of the frames, which are averaged down from 64; budgets live at this resolution.
        channels: 1, or 3 equal ones, which an attack may change apart.
        limit_train: number of clips in total; None for all. Likewise the other two.
        limit_val: see ``limit_train``.
        limit_test: see ``limit_train``.
        workers: loader processes; the file is mapped into memory, so that 0 is best.

    Raises:
        AdvvidError: for settings that the clips cannot satisfy; ``prepare`` for a file that is missing or another.

    Example:
        >>> MovingMNIST(frames=10).clip_shape
        (1, 10, 64, 64)
    """

    space: ClassVar[Space] = Space()
    task: ClassVar[NextFrame] = NextFrame()
    views: ClassVar[int] = 1

    root: FilePath | None = None
    splits: str | None = None
    frames: Annotated[int, Ge(1), Le(19)] = 10
    size: Literal[8, 16, 32, 64] = 64
    channels: Literal[1, 3] = 1
    workers: Workers = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.splits is not None:
            raise AdvvidError("the sequences of the file are divided by their place in it: leave dataset.splits=null")
        self.classes: list[str] = []  # nothing is classified
        self.clip_shape = (self.channels, self.frames, self.size, self.size)
        self.missing: dict[str, list[str]] = {}

    @property
    def file(self) -> Path:
        """Where the sequences are.

        Raises:
            AdvvidError: if no root was given.
        """
        if self.root is None:
            raise AdvvidError(
                f"dataset=moving_mnist needs dataset.root=<folder of {FILE}> (from www.cs.toronto.edu/~nitish/"
                "unsupervised_video), or take dataset=moving_digits, which needs no file"
            )
        root = user_path(self.root)
        return root / FILE if root.is_dir() else root

    def prepare(self) -> None:
        """Make sure that the file is there and holds sequences."""
        self._open()

    def split(self, name: str) -> MovingClips:
        """Return a split; its sequences stay on the disk until they are asked for."""
        videos = self._open()
        numbers = recipe.blocks(videos.shape[1])[name][: self.limits[name]]
        return MovingClips(videos, numbers, self.frames, self.size, self.channels)

    def _open(self) -> recipe.Frames:
        if not self.file.is_file():
            raise AdvvidError(
                f"dataset.root={user_path(str(self.root))} holds no {FILE}: give the folder or the file itself"
            )
        try:
            videos: recipe.Frames = np.load(self.file, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise AdvvidError(f"{self.file} is damaged or no .npy file ({error}): get it again") from None
        wanted = (recipe.FRAMES, videos.shape[1] if videos.ndim == 4 else 0, recipe.SIDE, recipe.SIDE)
        if videos.dtype != np.uint8 or videos.shape != wanted or wanted[1] < 10:
            raise AdvvidError(
                f"{self.file} holds {videos.dtype} {list(videos.shape)} instead of at least ten sequences, uint8 "
                "[20, N, 64, 64]: give Moving-MNIST's own file"
            )
        return videos


@dataclass(kw_only=True, eq=False)
class MovingDigits(MovingMNIST):
    """Sequences like Moving-MNIST's, made on first use from scikit-learn's handwritten digits (8 x 8, enlarged).

    The file has the published layout, so that ``dataset=moving_mnist dataset.root=...`` reads it too. No two splits
    share a picture of a digit.

    Args:
        root: the file or its folder; None for a file of the cache, named after recipe, number and seed.
        sequences: how many are made.
        seed: of the data draw. For the other arguments see ``MovingMNIST``.
    """

    sequences: Annotated[int, Ge(10)] = 1000
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.root is None:
            text = inspect.getsource(recipe)
            changed = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
            self.root = str(cache_dir() / f"moving_digits_{self.seed}_{self.sequences}_{changed}.npy")

    def intact(self) -> bool:
        """Tell whether the file is there."""
        return self.file.is_file()

    def prepare(self) -> None:
        """Make the file where it is missing, in a few seconds; one process makes it, others wait."""
        file = self.file
        if self.intact():
            return super().prepare()
        with locked(file.parent / f".{file.name}.lock", f"the embedded data in {file}"):
            files.remove_abandoned(file.parent.glob(f".{file.name}.*.tmp"))
            if not file.exists():
                videos = np.zeros((recipe.FRAMES, self.sequences, recipe.SIDE, recipe.SIDE), dtype=np.uint8)
                recipe.fill(videos, self.seed)
                with files.replacing(file) as out:  # mapped into memory, a full disk would end the process
                    np.lib.format.write_array(out, videos, allow_pickle=False)
                log.info("made %d sequences in %s", self.sequences, file)
        super().prepare()

"""Batches in an order that depends on (seed, epoch) alone, so that a killed run continues exactly."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from advvid.core.allowed import require
from advvid.core.batch import Batch, derive_seed
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Whole
from advvid.core.processes import obey_parent, signals_held
from advvid.data.checked import check_batch, stackable

# Loader processes; auto: see ``worker_count``.
Workers = Whole | Literal["auto"]
# More loader processes than these decode faster than an attacked model takes clips, and each costs memory.
MOST_WORKERS = 8

Item = tuple[Tensor, int, str]
# The clips, targets and names of a batch.
Stacked = tuple[Tensor, Tensor, list[str]]

# Number of a process, from 0, and of all that share a data set.
Share = tuple[int, int]
WHOLE: Share = (0, 1)


class Clips(Protocol):
    """A split: every video once, by number.

    ``split[index]`` gives the clip that testing scores; ``split[index, draw_seed]`` a random clip with augmentation,
    a function of ``draw_seed`` alone. Items are ``(uint8 [3, T, H, W], label, id)``, or whatever tensors the task wants.
    A split that makes a batch quicker than item by item has ``together(keys)``, which gives the same, stacked.
    """

    ids: list[str]
    targets: list[int]

    def __len__(self) -> int:
        """Return the number of videos."""

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        """Return one item."""


def train_length(dataset: Clips, batch_size: int, share: Share = WHOLE) -> int:
    """Return the number of batches of an epoch."""
    return len(_train_keys(dataset, batch_size, 0, 0, share))


def train_batches(
    dataset: Clips,
    batch_size: int,
    seed: int,
    epoch: int,
    start: int = 0,
    workers: int | str | Feed = 0,
    share: Share = WHOLE,
) -> Iterator[Batch]:
    """Yield an epoch's batches in random order, each video at most once, from batch ``start`` on.

    An incomplete last batch is left out, unless it is the only one.

    Args:
        dataset: the training split.
        batch_size: clips per batch and process.
        seed: of order, clip choice and augmentation.
        epoch: counts from 0; each has an order of its own.
        start: batches to leave out at the beginning; the rest is what an uninterrupted epoch would have had.
        workers: loader processes; 0 loads in this one, ``auto`` starts one per core, a ``Feed`` has its own.
        share: number of this process, from 0, and of all, which share the videos evenly.
    """
    keys = _train_keys(dataset, batch_size, seed, epoch, share)
    yield from _load(dataset, keys[start:], workers)


def counted_batches(
    dataset: Clips,
    batch_size: int,
    seed: int,
    wanted: range,
    workers: int | str | Feed = 0,
    share: Share = WHOLE,
) -> Iterator[Batch]:
    """Yield the batches of some numbers, which count over all epochs; see ``train_batches``."""
    length, first = train_length(dataset, batch_size, share), wanted.start
    while first < wanted.stop:
        epoch, start = divmod(first, length)
        count = min(wanted.stop - first, length - start)
        keys = _train_keys(dataset, batch_size, seed, epoch, share)
        yield from _load(dataset, keys[start : start + count], workers)
        first += count


def eval_batches(
    dataset: Clips, batch_size: int, numbers: Sequence[int] | None = None, workers: int | str | Feed = 0
) -> Iterator[Batch]:
    """Yield every video exactly once, in order.

    Args:
        dataset: the split.
        batch_size: clips per batch.
        numbers: which batches, counted from 0; all where None.
        workers: loader processes; 0 loads in this one, ``auto`` starts one per core, a ``Feed`` has its own.
    """
    indices = range(len(dataset))
    keys = [list(indices[i : i + batch_size]) for i in range(0, len(indices), batch_size)]
    yield from _load(dataset, keys if numbers is None else [keys[n] for n in numbers], workers)


def given_batches(dataset: Clips, numbers: Sequence[Sequence[int]], workers: int | str | Feed = 0) -> Iterator[Batch]:
    """Yield a batch of each list of videos, in order.

    Args:
        dataset: the split.
        numbers: of the videos of each batch.
        workers: loader processes; 0 loads in this one, ``auto`` starts one per core, a ``Feed`` has its own.
    """
    yield from _load(dataset, [list(batch) for batch in numbers], workers)


def _train_keys(dataset: Clips, batch_size: int, seed: int, epoch: int, share: Share) -> list[list[tuple[int, int]]]:
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(derive_seed(seed, "order", epoch)))
    # Every process gets the same number of videos: the few that are over are left to another epoch's order.
    rank, world_size = share
    own = order[: len(order) // world_size * world_size][rank::world_size].tolist()
    keys = [(index, draw_seed(seed, epoch, index)) for index in own]
    batches = [keys[i : i + batch_size] for i in range(0, len(keys), batch_size)]
    if len(batches) > 1 and len(batches[-1]) < batch_size:
        batches.pop()
    return batches


def draw_seed(seed: int, epoch: int, index: int) -> int:
    """Return the seed of the random clip of a video in an epoch of a training."""
    return derive_seed(seed, "draw", epoch, index)


class Feed:
    """Loader processes that stay from one walk over a split to the next, until the block ends.

    To start them takes longer than a small data set takes to load. What they give is the same as without them.

    Args:
        splits: that are loaded here; each process holds them all, as they are at the first walk.
        workers: loader processes; 0 loads in this one, ``auto`` starts one per core.
        most: processes for which there is work at most.

    Raises:
        AdvvidError: if ``workers`` is neither ``auto`` nor a whole number of at least 0.

    Example:
        >>> with Feed([train, val], workers=2) as feed:                         # doctest: +SKIP
        ...     for epoch in range(2):
        ...         batches = list(train_batches(train, 8, seed=0, epoch=epoch, workers=feed))
        ...         watched = list(eval_batches(val, 8, workers=feed))
    """

    def __init__(self, splits: Sequence[Clips], workers: int | str, most: int = sys.maxsize) -> None:
        self._splits, self._count = _Splits(splits), min(worker_count(workers), most)
        self._order: list[list[tuple[int, Any]]] = []
        self._loaded: DataLoader[Any] | None = None
        self._walks = 0

    def load(self, dataset: Clips, keys: Sequence[list[Any]]) -> Iterator[Batch]:
        """Yield a batch of each list of keys; a walk ends where the next one begins.

        Args:
            dataset: one of the splits.
            keys: of each batch, see ``Clips``.
        """
        if self._count == 0 or not keys:
            for batch in keys:
                yield check_batch(Batch(*fetched(dataset, batch)), dataset, batch)
            return
        if self._loaded is None:
            # Plain tensors between the processes: PyTorch pins the memory of those, but not of a Batch.
            self._loaded = DataLoader(
                self._splits,
                batch_sampler=self._order,
                num_workers=self._count,
                collate_fn=as_they_are,
                pin_memory=torch.cuda.is_available(),
                worker_init_fn=obey_parent,
                persistent_workers=True,
            )
        number = self._splits.number(dataset)
        self._order[:] = [[(number, key) for key in batch] for batch in keys]
        self._walks += 1
        walk = self._walks
        with signals_held():  # PyTorch's own processes would end at a signal before their parent has saved
            loaded = iter(self._loaded)
        for batch, (clips, target, ids) in zip(keys, _without_traceback(loaded), strict=True):
            yield check_batch(Batch(clips, target, list(ids)), dataset, batch)
            if walk != self._walks:
                raise RuntimeError(
                    "a walk over a split went on after another had begun: the processes serve one at a time"
                )

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *error: object) -> None:
        self._loaded = None  # which ends its processes


class _Splits(Dataset[Any]):
    """Several splits as one, whose keys say which."""

    def __init__(self, splits: Sequence[Clips]) -> None:
        self._splits = list(splits)

    def number(self, dataset: Clips) -> int:
        """Return which of them a split is."""
        return next(i for i, split in enumerate(self._splits) if split is dataset)

    def __getitems__(self, keys: Sequence[tuple[int, Any]]) -> Stacked:
        """Return a batch, all of one split."""
        return fetched(self._splits[keys[0][0]], [key for _, key in keys])


def fetched(dataset: Clips, keys: Sequence[Any]) -> Stacked:
    """Return a batch of items, from a split that makes them ``together`` where it can."""
    together = getattr(dataset, "together", None)
    return stacked([dataset[key] for key in keys]) if together is None else together(keys)


def as_they_are(batch: Any) -> Any:
    """Return what is stacked already; a function that loader processes can be sent."""
    return batch


def _load(dataset: Clips, keys: Sequence[list[Any]], workers: int | str | Feed) -> Iterator[Batch]:
    if isinstance(workers, Feed):
        yield from workers.load(dataset, keys)
        return
    with Feed([dataset], workers, len(keys)) as feed:
        yield from feed.load(dataset, keys)


def _without_traceback(loaded: Iterable[Any]) -> Iterator[Any]:
    """Yield what loader processes give; torch wraps their problem in a traceback, which hides the sentence."""
    try:
        yield from loaded
    except AdvvidError as error:
        raise AdvvidError(str(error).strip().rpartition("AdvvidError: ")[2]) from None


def worker_count(workers: int | str) -> int:
    """Return the number of loader processes; ``auto`` is one per core that this process may use, at most 8.

    Raises:
        AdvvidError: if it is neither ``auto`` nor a whole number of at least 0.
    """
    if workers == "auto":
        # Processes that torchrun or Fabric started on this machine share its cores.
        return max(1, min(MOST_WORKERS, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    require(workers, Workers, "dataset.workers")
    return int(workers)


def cores() -> int:
    """Return the number of CPU cores that this process may use: of the machine, its affinity and its container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return count  # no container, or one without a bound


def collate(items: Sequence[Item]) -> Batch:
    """Stack items into a batch of uint8 clips ``[B, 3, T, H, W]``."""
    return Batch(*stacked(items))


def stacked(items: Sequence[Item]) -> Stacked:
    """Stack items into clips, targets and names."""
    clips, targets, ids = zip(*items, strict=True)
    stackable(clips, ids)
    # In a loader process this stacks straight into the memory that is shared with the main process.
    return default_collate(list(clips)), default_collate(list(targets)), list(ids)

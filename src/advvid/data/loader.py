"""Batches in an order that depends on (seed, epoch) alone, so that a killed run continues exactly."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from advvid.core.allowed import require
from advvid.core.batch import Batch, derive_seed
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Whole
from advvid.core.processes import obey_parent, signals_held
from advvid.data.checked import check_batch, stackable

# More loader processes than these decode faster than an attacked model takes clips, and each costs memory.
# Loader processes; auto: see ``worker_count``.
Workers = Whole | Literal["auto"]
MOST_WORKERS = 8

Item = tuple[Tensor, int, str]

# Number of a process, from 0, and of all that share a data set.
Share = tuple[int, int]
WHOLE: Share = (0, 1)


class Clips(Protocol):
    """A split: every video once, by number.

    ``split[index]`` gives the clip that testing scores; ``split[index, draw_seed]`` a random clip with augmentation,
    a function of ``draw_seed`` alone. Items are ``(uint8 [3, T, H, W], label, id)``, or whatever tensors the task wants.
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
    workers: int | str = 0,
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
        workers: loader processes; 0 loads in this one, ``auto`` starts one per core.
        share: number of this process, from 0, and of all, which share the videos evenly.
    """
    keys = _train_keys(dataset, batch_size, seed, epoch, share)
    yield from _load(dataset, keys[start:], workers)


def eval_batches(
    dataset: Clips, batch_size: int, numbers: Sequence[int] | None = None, workers: int | str = 0
) -> Iterator[Batch]:
    """Yield every video exactly once, in order.

    Args:
        dataset: the split.
        batch_size: clips per batch.
        numbers: which batches, counted from 0; all where None.
        workers: loader processes; 0 loads in this one, ``auto`` starts one per core.
    """
    indices = range(len(dataset))
    keys = [list(indices[i : i + batch_size]) for i in range(0, len(indices), batch_size)]
    yield from _load(dataset, keys if numbers is None else [keys[n] for n in numbers], workers)


def given_batches(dataset: Clips, numbers: Sequence[Sequence[int]], workers: int | str = 0) -> Iterator[Batch]:
    """Yield a batch of each list of videos, in order.

    Args:
        dataset: the split.
        numbers: of the videos of each batch.
        workers: loader processes; 0 loads in this one, ``auto`` starts one per core.
    """
    yield from _load(dataset, [list(batch) for batch in numbers], workers)


def _train_keys(dataset: Clips, batch_size: int, seed: int, epoch: int, share: Share) -> list[list[tuple[int, int]]]:
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(derive_seed(seed, "order", epoch)))
    # Every process gets the same number of videos: the few that are over are left to another epoch's order.
    rank, world_size = share
    own = order[: len(order) // world_size * world_size][rank::world_size].tolist()
    keys = [(index, derive_seed(seed, "draw", epoch, index)) for index in own]
    batches = [keys[i : i + batch_size] for i in range(0, len(keys), batch_size)]
    if len(batches) > 1 and len(batches[-1]) < batch_size:
        batches.pop()
    return batches


def _load(dataset: Clips, keys: Sequence[list[Any]], workers: int | str) -> Iterator[Batch]:
    count = min(worker_count(workers), len(keys))
    if count == 0:
        for batch in keys:
            yield check_batch(collate([dataset[key] for key in batch]), dataset, batch)
        return
    # Plain tensors between the processes: PyTorch pins the memory of those, but not of a Batch.
    loaded: DataLoader[Any] = DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=keys,
        num_workers=count,
        collate_fn=_stack,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=obey_parent,
    )
    with signals_held():  # PyTorch's own processes would end at a signal before their parent has saved
        walk = iter(loaded)
    for batch, (clips, target, ids) in zip(keys, _without_traceback(walk), strict=True):
        yield check_batch(Batch(clips, target, list(ids)), dataset, batch)


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
    return Batch(*_stack(items))


def _stack(items: Sequence[Item]) -> tuple[Tensor, Tensor, list[str]]:
    clips, targets, ids = zip(*items, strict=True)
    stackable(clips, ids)
    # In a loader process this stacks straight into the memory that is shared with the main process.
    return default_collate(list(clips)), default_collate(list(targets)), list(ids)

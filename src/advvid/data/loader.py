"""Batches in an order that depends on (seed, epoch) alone, so that a killed run continues exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from advvid.batch import Batch, derive_seed

Item = tuple[Tensor, int, str]


class Clips(Protocol):
    """A split: every video once, by number.

    ``split[index]`` gives the clip that testing scores; ``split[index, draw_seed]`` a random clip with augmentation,
    a function of ``draw_seed`` alone. Items are ``(uint8 [3, T, H, W], label, id)``.
    """

    ids: list[str]
    targets: list[int]

    def __len__(self) -> int:
        """Return the number of videos."""

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        """Return one item."""


def train_length(dataset: Clips, batch_size: int, drop_last: bool = True, rank: int = 0, world_size: int = 1) -> int:
    """Return the number of batches of an epoch."""
    return len(_train_keys(dataset, batch_size, 0, 0, drop_last, rank, world_size))


def train_batches(
    dataset: Clips, batch_size: int, seed: int, epoch: int, start: int = 0, workers: int = 0, drop_last: bool = True,
    rank: int = 0, world_size: int = 1,
) -> Iterator[Batch]:  # fmt: skip
    """Yield an epoch's batches in random order, each video once, from batch ``start`` on.

    Args:
        dataset: the training split.
        batch_size: clips per batch and process.
        seed: of order, clip choice and augmentation.
        epoch: counts from 0; each has an order of its own.
        start: batches to leave out at the beginning; the rest is what an uninterrupted epoch would have had.
        workers: loader processes; 0 loads in this one.
        drop_last: leave out an incomplete last batch, unless it is the only one.
        rank: number of this process.
        world_size: number of processes, which share the videos evenly.
    """
    keys = _train_keys(dataset, batch_size, seed, epoch, drop_last, rank, world_size)
    yield from _load(dataset, keys[start:], workers)


def eval_batches(
    dataset: Clips, batch_size: int, numbers: Sequence[int] | None = None, workers: int = 0
) -> Iterator[Batch]:
    """Yield every video exactly once, in order.

    Args:
        dataset: the split.
        batch_size: clips per batch.
        numbers: which batches, counted from 0; all where None.
        workers: loader processes; 0 loads in this one.
    """
    indices = range(len(dataset))
    keys = [list(indices[i : i + batch_size]) for i in range(0, len(indices), batch_size)]
    yield from _load(dataset, keys if numbers is None else [keys[n] for n in numbers], workers)


def _train_keys(
    dataset: Clips, batch_size: int, seed: int, epoch: int, drop_last: bool, rank: int, world_size: int
) -> list[list[tuple[int, int]]]:
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(derive_seed(seed, "order", epoch)))
    # Every process gets the same number of videos: the few that are over are left to another epoch's order.
    share = order[: len(order) // world_size * world_size][rank::world_size].tolist()
    keys = [(index, derive_seed(seed, "draw", epoch, index)) for index in share]
    batches = [keys[i : i + batch_size] for i in range(0, len(keys), batch_size)]
    if drop_last and len(batches) > 1 and len(batches[-1]) < batch_size:
        batches.pop()
    return batches


def _load(dataset: Clips, keys: Sequence[list[Any]], workers: int) -> Iterator[Batch]:
    if workers == 0:
        for batch in keys:
            yield collate([dataset[key] for key in batch])
        return
    yield from DataLoader(
        dataset, batch_sampler=keys, num_workers=workers, collate_fn=collate, pin_memory=torch.cuda.is_available()  # type: ignore[arg-type]
    )  # fmt: skip


def collate(items: Sequence[Item]) -> Batch:
    """Stack items into a batch of uint8 clips ``[B, 3, T, H, W]``."""
    clips, targets, ids = zip(*items, strict=True)
    return Batch(torch.stack(clips), torch.tensor(targets), list(ids))

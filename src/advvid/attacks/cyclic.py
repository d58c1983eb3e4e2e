"""What universal attacks share: a pattern begun at any frame of its cycle, and batches walked again and again."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from advvid.core.batch import Batch


def begun_anywhere(pattern: Tensor, frames: int, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
    """Return a pattern for each clip, begun at a random frame of its cycle, and that frame.

    Args:
        pattern: one for all clips or one for each, ``[1 or B, C, P, ...]``; longer clips see it again from its start.
        frames: T, of a clip.
        generators: one per clip.

    Shape:
        returns ``[B, C, T, ...]`` and int64 ``[B]``.
    """
    period = pattern.shape[2]
    begin = torch.stack([torch.randint(period, (), generator=g) for g in generators])
    begin = begin.to(pattern.device, non_blocking=True)
    return begun_at(pattern, frames, begin), begin


def begun_at(pattern: Tensor, frames: int, begin: Tensor) -> Tensor:
    """Return a pattern ``[1 or B, C, P, ...]`` for each clip, begun at frame ``begin [B]`` of its cycle."""
    channels, period, *rest = pattern.shape[1:]
    places = (begin[:, None] + torch.arange(frames, device=begin.device)) % period
    index = places.view(len(begin), 1, frames, *[1] * len(rest)).expand(-1, channels, -1, *rest)
    return pattern.expand(len(begin), *pattern.shape[1:]).gather(2, index)


def cycle(loader: Iterable[Batch], number: int) -> Iterator[Batch]:
    """Yield this many batches, walking the loader as often as it takes; nothing where it is empty."""
    # An iterator gives its batches once only, so that they are kept, as bytes, for the next walk.
    loader = list(loader) if isinstance(loader, Iterator) else loader
    given, last = 0, -1
    while last < given < number:
        last = given
        for batch in itertools.islice(loader, number - given):
            given += 1
            yield batch

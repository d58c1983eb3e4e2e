"""Training clips that are resized, cropped and mirrored on a GPU (``runtime.device_transforms=true``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from advvid.data.clips import VideoClips
from advvid.data.loader import Clips, Item, Stacked, stacked

# Bytes of a whole number in the head of a packed batch, and how many a clip has there: its frames' extent and its draw.
NUMBER, HEAD = 8, 4


class DeviceVaried:
    """A training split of video files whose random clips leave the loader as their frames were decoded.

    Clips of one batch may differ in size: their bytes travel one after another, behind a head that says how each is
    shaped and by which seed it is varied, and ``finished`` makes a batch of them on the device. Places and mirroring are
    those of the loader processes. Resized values are within one grey level (of 255): a GPU rounds them otherwise. Clips that
    the cache holds were resized before they were kept. What testing scores is left to the loader, and is the same everywhere.

    Args:
        split: the videos.

    Example:
        >>> varied = DeviceVaried(data.split("train"))                              # doctest: +SKIP
        >>> for batch in prefetch(train_batches(varied, 8, 0, 0), "cuda", varied):  # doctest: +SKIP
        ...     batch.inputs.shape                                                  # uint8, on the GPU
    """

    def __init__(self, split: VideoClips) -> None:
        self.split, self.ids, self.targets = split, split.ids, split.targets

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        """Return one item, finished; see ``VideoClips``."""
        return self.split[key]

    def digests(self) -> list[str]:
        """See ``VideoClips.digests``."""
        return self.split.digests()

    def together(self, keys: Sequence[Any]) -> Stacked:
        """Return a batch: of scored clips as ever, of random ones packed into one row of bytes."""
        if not isinstance(keys[0], tuple):
            return stacked([self.split[key] for key in keys])
        frames = [self.split.uncut(*key).contiguous() for key in keys]
        head = [[clip.shape[0], *clip.shape[2:], draw] for clip, (_, draw) in zip(frames, keys, strict=True)]
        packed = torch.cat(
            [torch.tensor(head, dtype=torch.int64).view(torch.uint8).flatten(), *map(torch.flatten, frames)]
        )
        numbers = [index for index, _ in keys]
        return packed, torch.tensor([self.targets[i] for i in numbers]), [self.ids[i] for i in numbers]

    def finished(self, packed: Tensor, moved: Tensor, count: int) -> Tensor:
        """Return the clips of a packed batch, uint8 ``[B, 3, T, size, size]``.

        Args:
            packed: on the host, of which the head is read.
            moved: the same on the device.
            count: of the clips.
        """
        start, clips = count * HEAD * NUMBER, []
        for frames, height, width, draw in packed[:start].view(torch.int64).view(count, HEAD).tolist():
            end = start + math.prod((frames, 3, height, width))
            clips.append(self.split.varied(moved[start:end].view(frames, 3, height, width), draw))
            start = end
        return torch.stack(clips)


def varied_on(split: Clips, device: torch.device) -> Clips:
    """Return a training split whose clips a GPU finishes; the split itself on a CPU, or where it is of no video files."""
    return DeviceVaried(split) if device.type == "cuda" and isinstance(split, VideoClips) else split

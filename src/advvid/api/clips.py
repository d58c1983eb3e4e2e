"""Clips as people have them in Python: two tensors, a torch Dataset or a DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from advvid.core import digests
from advvid.core.errors import AdvvidError
from advvid.core.progress import bar

Layout = Literal["CTHW", "TCHW"]
# What a data set that gives mappings calls its clips and labels: PyTorchVideo, Hugging Face.
CLIP_KEYS = ("video", "clip", "clips", "pixel_values", "inputs")
LABEL_KEYS = ("label", "labels", "target")
ID_KEYS = ("id", "ids", "video_name", "name")


@dataclass
class GivenClips:
    """A split of clips that somebody gave; see ``advvid.data.loader.Clips``.

    Args:
        read: gives the clip of a number as it was given.
        ids: of the clips.
        targets: labels, a class number each.
        found: a digest of each clip.
        layout: of one clip as it was given.

    Raises:
        AdvvidError: on reading, where a clip is another one than at the first time.
    """

    read: Callable[[int], Any]
    ids: list[str]
    targets: list[int]
    found: list[str]
    layout: Layout
    sums: list[float] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, int, str]:
        index = key[0] if isinstance(key, tuple) else key
        clip = as_clip(self.read(index), self.ids[index], self.layout)
        if _sum(clip) != self.sums[index]:
            raise AdvvidError(
                f"clip {self.ids[index]} was read otherwise than before: an evaluation reads a clip several times and needs "
                "the same one each time, so turn random cropping and augmentation off"
            )
        return clip, self.targets[index], self.ids[index]

    def digests(self) -> list[str]:
        """Return what each clip holds."""
        return self.found

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """``(3, T, H, W)``."""
        return tuple(self[0][0].shape)


def given_clips(data: Any, layout: Layout | None = None) -> GivenClips:
    """Return data as a split; every clip is read once.

    Args:
        data: two tensors (clips, labels); a torch Dataset; or a DataLoader; of ``(clip, label)``, ``(clip, label, id)`` or
            mappings with such keys. Clips have values in [0, 1], or are uint8 from 0 to 255.
        layout: of one clip, ``CTHW`` or ``TCHW``; None reads it from the shape, where that is unambiguous.

    Shape:
        a clip ``[3, T, H, W]``, or ``[T, 3, H, W]``; labels: class numbers, or one-hot.

    Raises:
        AdvvidError: naming the clip and what is wrong with it.

    Example:
        >>> split = given_clips((torch.rand(2, 3, 4, 8, 8), torch.tensor([0, 1])))
        >>> split.ids, split.clip_shape
        (['0', '1'], (3, 4, 8, 8))
    """
    read, items, count = _source(data)
    ids, targets, found, sums = [], [], [], []
    with bar("reading the clips", count) as progress:
        for number, (value, label, name) in enumerate(items):
            name = str(number) if name is None else str(name)
            layout = layout or layout_of(value, name)
            clip = as_clip(value, name, layout)
            ids.append(name)
            targets.append(as_label(label, name))
            found.append(digests.of_array(clip))
            sums.append(_sum(clip))
            progress.advance(1)
    if not ids or layout is None:
        raise AdvvidError("there is no clip to score: the data are empty")
    return GivenClips(read, ids, targets, found, layout, sums)


def _source(data: Any) -> tuple[Callable[[int], Any], Iterable[tuple[Any, Any, Any]], int]:
    """Return how a clip is read by its number, all items in order, and their number (0 where it is not known)."""
    if isinstance(data, Tensor):
        raise AdvvidError("labels are missing: give data=(clips, labels)")
    if isinstance(data, str | Path):
        raise AdvvidError(
            f"data={data} is a path: give advvid.data.ClassFolders(root={str(data)!r}, frames=16, size=112) for a folder of "
            "videos for each class, or advvid.data.VideoList(splits=...) for a list of them"
        )
    if isinstance(data, tuple | list) and len(data) in (2, 3) and isinstance(data[0], Tensor):
        clips, labels = data[0], data[1]
        if clips.dim() != 5:
            raise AdvvidError(f"clips of shape {_shape(clips)} are no batch of videos: give [n, 3, T, H, W]")
        if len(labels) != len(clips):
            raise AdvvidError(f"there are {len(clips)} clips but {len(labels)} labels: give one label per clip")
        names = data[2] if len(data) == 3 else [None] * len(clips)
        return lambda i: clips[i], zip(clips, labels, names, strict=True), len(clips)
    if isinstance(data, DataLoader) and not _plain(data):
        kept: list[Any] = []
        return lambda i: _whole(*kept[i]), _kept(data, kept), 0
    dataset = data.dataset if isinstance(data, DataLoader) else data
    if isinstance(dataset, IterableDataset) or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise AdvvidError(
            f"data of the kind {type(data).__name__} cannot be read by number: give two tensors (clips, labels), a torch Dataset "
            "with a length, a DataLoader, or a data set of advvid"
        )
    count = len(dataset)
    return lambda i: _item(dataset[i], str(i))[0], (_item(dataset[i], str(i)) for i in range(count)), count


def _plain(loader: DataLoader[Any]) -> bool:
    """Whether a loader gives its data set's items in their order, so that they can be read by number."""
    ordered = isinstance(getattr(loader, "sampler", None), torch.utils.data.SequentialSampler)
    default = loader.collate_fn is torch.utils.data.default_collate
    return (
        ordered and default and hasattr(loader.dataset, "__len__") and not isinstance(loader.dataset, IterableDataset)
    )


def _kept(loader: DataLoader[Any], kept: list[Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Yield the items of a loader's batches and keep their clips, as 8 bits where nothing is lost."""
    for number, batch in enumerate(loader):
        clips, labels, names = _item(batch, f"of batch {number}")
        for i, clip in enumerate(clips):
            kept.append(_small(clip))
            yield clip, labels[i], None if names is None else names[i]


def _small(clip: Tensor) -> tuple[Tensor, bool]:
    """Return a clip to be kept, and whether it is one of floats that lost nothing as 8 bits."""
    if clip.is_floating_point():
        levels = clip.mul(255).round().clamp(0, 255).to(torch.uint8)
        if torch.equal(levels / 255, clip.float()):
            return levels, True
    return clip.clone(), False


def _whole(kept: Tensor, as_levels: bool) -> Tensor:
    return kept / 255 if as_levels else kept


def _item(item: Any, name: str) -> tuple[Any, Any, Any]:
    """Return clip, label and id (None where there is none) of an item or a batch of items."""
    if isinstance(item, Mapping):
        found = [next((item[key] for key in keys if key in item), None) for keys in (CLIP_KEYS, LABEL_KEYS, ID_KEYS)]
        if found[0] is None or found[1] is None:
            raise AdvvidError(
                f"item {name} is a mapping of {', '.join(map(str, item))}: name its clip {' or '.join(CLIP_KEYS)} and its label "
                f"{' or '.join(LABEL_KEYS)}"
            )
        return found[0], found[1], found[2]
    if isinstance(item, tuple | list) and len(item) in (2, 3):
        return item[0], item[1], item[2] if len(item) == 3 else None
    raise AdvvidError(f"item {name} is a {type(item).__name__}: give (clip, label) or (clip, label, id)")


def layout_of(clip: Any, name: str) -> Layout:
    """Read the layout of a clip from its shape.

    Raises:
        AdvvidError: where it fits none, or both.
    """
    if not isinstance(clip, Tensor) or clip.dim() != 4:
        told = _shape(clip) if isinstance(clip, Tensor) else type(clip).__name__
        raise AdvvidError(f"clip {name} is {told}: a clip is a tensor [3, T, H, W]")
    first, second = clip.shape[0] == 3, clip.shape[1] == 3
    if first and second:
        raise AdvvidError(
            f"clip {name} has the shape {_shape(clip)}, which may be read two ways: say layout='CTHW' or 'TCHW'"
        )
    if first or second:
        return "CTHW" if first else "TCHW"
    last = " (move the channels to the front: clip.permute(3, 0, 1, 2))" if clip.shape[-1] == 3 else ""
    raise AdvvidError(f"clip {name} has the shape {_shape(clip)}, without three channels: give [3, T, H, W]{last}")


def as_clip(value: Any, name: str, layout: Layout) -> Tensor:
    """Return a clip ``[3, T, H, W]``, uint8 or float32 in [0, 1].

    Raises:
        AdvvidError: for another shape, NaN, and values outside [0, 1].
    """
    axis = 0 if layout == "CTHW" else 1
    if not isinstance(value, Tensor) or value.dim() != 4 or value.shape[axis] != 3:
        raise AdvvidError(
            f"clip {name} is {_shape(value) if isinstance(value, Tensor) else type(value).__name__}, not {layout}"
        )
    clip = value.detach().clone().cpu()  # a clone outside inference mode can be attacked
    clip = clip.transpose(0, 1).contiguous() if layout == "TCHW" else clip
    if clip.dtype == torch.uint8:
        return clip
    if not clip.is_floating_point():
        raise AdvvidError(f"clip {name} holds {clip.dtype}: give uint8 from 0 to 255, or floats in [0, 1]")
    clip = clip.float()
    low, high = clip.aminmax()
    if not bool(clip.isfinite().all()):
        raise AdvvidError(f"clip {name} holds NaN or infinity")
    if low < 0 or high > 1:
        raise AdvvidError(
            f"clip {name} has values from {float(low):.4g} to {float(high):.4g}: clips lie in [0, 1], where budgets are defined; "
            "leave normalisation to the model, as in advvid.Normalised(model, mean, std)"
        )
    return clip


def as_label(value: Any, name: str) -> int:
    """Return a class number: of a number of any integer type, or of a one-hot vector.

    Raises:
        AdvvidError: for anything else.

    Example:
        >>> as_label(torch.tensor([0.0, 1.0, 0.0]), "a")
        1
    """
    label = torch.as_tensor(value)
    if label.dim() == 1 and len(label) > 1:
        if bool(((label == 0) | (label == 1)).all()) and int(label.sum()) == 1:
            return int(label.argmax())
        raise AdvvidError(f"clip {name} has {len(label)} labels that are not one-hot: give its class number")
    if label.numel() != 1 or label.is_complex() or (label.is_floating_point() and float(label) != int(label)):
        raise AdvvidError(f"clip {name} has the label {value!r}: give its class number, an integer from 0")
    return int(label)


def _sum(clip: Tensor) -> float:
    return float(clip.double().sum())


def _shape(clip: Tensor) -> str:
    return " x ".join(map(str, clip.shape))

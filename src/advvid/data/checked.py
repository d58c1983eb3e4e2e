"""Whether a split and its batches are what they say: every clip once, under its own name and label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.tasks.classification import Classification

if TYPE_CHECKING:
    from advvid.data.loader import Clips


def check_split(split: Clips, name: str, classes: Sequence[str], task: object) -> None:
    """Refuse a split that cannot be trained on or scored; no clip is read.

    Args:
        split: of a data set.
        name: ``train``, ``val`` or ``test``.
        classes: of the data set.
        task: a classification's labels are held against the classes.

    Raises:
        AdvvidError: naming the split and the clip.
    """
    lacks = [name for name in ("ids", "targets", "__len__", "__getitem__") if not hasattr(split, name)]
    if lacks:
        raise AdvvidError(
            f"the {name} split, a {type(split).__name__}, lacks {', '.join(lacks)}: give it what advvid.data.Clips lists"
        )
    ids = list(split.ids)
    if len(ids) != len(split):
        raise AdvvidError(f"the {name} split has {len(split)} clips but {len(ids)} ids: it owes one per clip")
    if not ids:
        raise AdvvidError(f"the {name} split has no clip: check dataset.splits and dataset.limit_{name}")
    seen: set[str] = set()
    for clip in ids:
        if not isinstance(clip, str) or not clip:
            raise AdvvidError(f"the {name} split has the id {clip!r}: a clip's id is a text that is not empty")
        if clip in seen:
            raise AdvvidError(f"the id {clip} stands twice in the {name} split: give every clip an id of its own")
        seen.add(clip)
    if not isinstance(task, Classification):
        return
    targets = list(split.targets)
    if len(targets) != len(ids):
        raise AdvvidError(f"the {name} split has {len(ids)} clips but {len(targets)} labels: it owes one per clip")
    for clip, label in zip(ids, targets, strict=True):
        if not 0 <= int(label) < len(classes):
            raise AdvvidError(
                f"clip {clip} of the {name} split has the label {int(label)}, but the data set has {len(classes)} classes, "
                "numbered from 0: mend the list"
            )


def check_batch(batch: Batch, split: Clips, keys: Sequence[Any]) -> Batch:
    """Return a batch, still on the CPU, after holding it against the split that it was read from.

    Args:
        batch: as it was read.
        split: whose ids and labels the clips must have.
        keys: of the clips: numbers, or pairs of a number and a seed.

    Raises:
        AdvvidError: naming the clip whose id, label or values are not what they should be.
    """
    numbers = [key[0] if isinstance(key, tuple) else key for key in keys]
    for number, clip in zip(numbers, batch.ids, strict=True):
        if clip != split.ids[number]:
            raise AdvvidError(
                f"clip number {number} was listed as {split.ids[number]} but read as {clip}: a clip keeps one id, "
                "whichever time it is read"
            )
    _check_labels(batch, split, numbers)
    if batch.inputs.is_floating_point() and not bool(batch.inputs.isfinite().all()):
        bad = ~batch.inputs.isfinite().flatten(1).all(dim=1)
        raise AdvvidError(
            f"clip {batch.ids[int(bad.nonzero()[0])]} holds NaN or infinity as it was read: mend or leave out its file"
        )
    return batch


def _check_labels(batch: Batch, split: Clips, numbers: Sequence[int]) -> None:
    if batch.target.dim() != 1 or batch.target.is_floating_point():
        return
    listed = torch.as_tensor([int(split.targets[number]) for number in numbers])
    if not torch.equal(batch.target.long(), listed):
        index = int((batch.target != listed).nonzero()[0])
        raise AdvvidError(
            f"clip {batch.ids[index]} was listed with the label {int(listed[index])} but read with "
            f"{int(batch.target[index])}: a clip has one label"
        )


def stackable(clips: Sequence[object], ids: Sequence[str]) -> None:
    """Refuse clips that do not make one batch.

    Raises:
        AdvvidError: naming the clip that is of another kind than the first.
    """
    first = clips[0]
    if not isinstance(first, Tensor):
        raise AdvvidError(f"clip {ids[0]} was read as {type(first).__name__}: a clip is a tensor, uint8 or float32")
    if first.dtype not in (torch.uint8, torch.float32):
        kind = str(first.dtype).removeprefix("torch.")
        raise AdvvidError(
            f"clip {ids[0]} was read as {kind}: a clip is uint8 from 0 to 255, or float32 in the range of its data"
        )
    for clip, name in zip(clips, ids, strict=True):
        if not isinstance(clip, Tensor) or clip.shape != first.shape or clip.dtype != first.dtype:
            had = (
                f"{' x '.join(map(str, clip.shape))} {clip.dtype}" if isinstance(clip, Tensor) else type(clip).__name__
            )
            raise AdvvidError(
                f"clip {name} was read as {had}, clip {ids[0]} as {' x '.join(map(str, first.shape))} {first.dtype}: all "
                "clips of a split have one shape and type"
            )

"""Moving the next batch to the device while the last one is computed on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from advvid.core.batch import Batch
from advvid.data.device_transforms import DeviceVaried


def prefetch(batches: Iterable[Batch], device: torch.device | str, split: object = None) -> Iterator[Batch]:
    """Yield the batches, one ahead on the GPU; on a CPU they are already where they are needed.

    They travel, and wait on the device, as bytes: ``Batch.to`` turns them into floats when their turn comes. The values
    are the same with and without.

    Args:
        batches: from the loader, uint8, in pinned memory where loader processes made them.
        device: where the next step computes.
        split: that the batches are of; one that finishes its clips on the device (``DeviceVaried``) does so beside the
            computation.

    Example:
        >>> for batch in prefetch(train_batches(split, 8, seed=0, epoch=0), "cuda"):   # doctest: +SKIP
        ...     batch = batch.to("cuda")
    """
    device = torch.device(device)
    if device.type != "cuda":
        yield from batches
        return
    copies = torch.cuda.Stream(device)
    ahead: tuple[Batch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(copies):
            mask = None if batch.mask is None else _copy(batch.mask, device)
            inputs = _copy(batch.inputs, device)
            if isinstance(split, DeviceVaried) and inputs.dim() == 1:
                inputs = split.finished(batch.inputs, inputs, len(batch))
            moved = Batch(inputs, _copy(batch.target, device), batch.ids, mask)
            following = moved, copies.record_event()
        if ahead is not None:
            yield _arrived(*ahead)
        ahead = following
    if ahead is not None:
        yield _arrived(*ahead)


def _copy(tensor: Tensor, device: torch.device) -> Tensor:
    # Only from pinned memory does a copy run beside the host and the computation.
    return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)


def _arrived(batch: Batch, copied: torch.cuda.Event) -> Batch:
    """Let the current stream wait for the copies, and their memory for the current stream."""
    current = torch.cuda.current_stream(batch.inputs.device)
    current.wait_event(copied)
    for tensor in (batch.inputs, batch.target, batch.mask):
        if tensor is not None:
            tensor.record_stream(current)
    return batch

"""What a GPU refuses of an operator's tensors, and when it makes the host wait."""

from __future__ import annotations

import torch
from torch import Tensor

aten = torch.ops.aten
READS, UPLOADS = "device to host", "host to device"
# Operators whose result the host has to know, be it only for the shape of what they return.
WAITING = {
    getattr(aten, name)
    for name in [
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "equal",
        "is_nonzero",
        "bincount",
        "_unique2",
        "unique_dim",
    ]
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class DeviceError(RuntimeError):
    """What a GPU would have refused."""


def judge(func, args, kwargs, given: list[Tensor], there: bool) -> str | None:
    """Refuse an operator that a GPU refuses, and say whether it makes the host wait.

    Args:
        func: the operator, of which at least one tensor or the result is on the GPU.
        args: of the operator.
        kwargs: of the operator.
        given: all tensors among its arguments.
        there: whether its result is on the GPU.

    Returns:
        ``device to host``, ``host to device``, or None where the host goes on.
    """
    kind = func.overloadpacket
    if kind is aten._to_copy:
        return _copy(args[0].is_cuda, there, kwargs.get("non_blocking", False))
    if kind is aten.copy_:
        into, value = args[:2]
        number = not value.is_cuda and not value.dim()  # which travels with the call
        return None if number else _copy(value.is_cuda, into.is_cuda, len(args) > 2 and args[2])
    if kind in INDEXING:
        return _index(args[0], [place for place in args[1] if place is not None], *args[2:3])
    on_gpu = any(tensor.is_cuda for tensor in given)
    for tensor in given:
        if on_gpu and not tensor.is_cuda and tensor.dim():
            raise DeviceError(
                "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
                f"({func}, a host tensor of shape {tuple(tensor.shape)})"
            )
    unknown = kind is aten.repeat_interleave and kwargs.get("output_size") is None
    return READS if kind in WAITING or unknown else None


def _copy(came: bool, goes: bool, beside: bool) -> str | None:
    """Judge a copy; one to the host is waited for before its values are used, whatever it says."""
    if came == goes:
        return None
    return READS if came else None if beside else UPLOADS


def _index(indexed: Tensor, places: list[Tensor], value: Tensor | None = None) -> str | None:
    if not indexed.is_cuda:
        raise DeviceError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    if value is not None and not value.is_cuda and value.dim():
        raise DeviceError("expected the values to be on cuda:0, like the tensor that they are put into")
    if any(not place.is_cuda for place in places):
        return UPLOADS
    fills = value is not None and not value.is_cuda  # a number under a mask, whose places nobody has to know
    masks = any(place.dtype in (torch.bool, torch.uint8) for place in places)
    return READS if masks and not fills else None

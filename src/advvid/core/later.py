"""Conditions and sums on a GPU that are read together, once in a while, so that the host need not wait for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from advvid.core.errors import AdvvidError

# A sum that stays where it was computed until somebody reads it.
Sum = float | Tensor
Message = Callable[[Sequence[float]], str]


class Pending:
    """What was asked of a device and not read yet."""

    def __init__(self) -> None:
        self._asked: list[tuple[Tensor, Message]] = []

    def note(self, holds: Tensor, figures: Sequence[Tensor], message: Message) -> None:
        """Keep a condition, and the figures of its message, on the device."""
        self._asked.append((torch.stack([holds.double(), *(figure.double() for figure in figures)]), message))

    def read(self, tensors: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Read all conditions in one synchronisation, and return these tensors on the host, which come with them.

        Raises:
            AdvvidError: with the message of the first that does not hold.
        """
        asked, self._asked = self._asked, []
        conditions = {f"asked {number}": answer for number, (answer, _) in enumerate(asked)}
        host = on_host({**(tensors or {}), **conditions})
        for name, (_, message) in zip(conditions, asked, strict=True):
            holds, *figures = host.pop(name).tolist()
            if not holds:
                raise AdvvidError(message(figures))
        return host


_pending: ContextVar[Pending | None] = ContextVar("pending", default=None)


@contextmanager
def later(active: bool = True) -> Iterator[Pending]:
    """Let ``require`` wait, for as long as a block, until ``Pending.read`` is called; what is left is read at its end.

    Args:
        active: False leaves every condition to be read at once, as on a CPU, where it costs nothing.
    """
    pending = Pending()
    token = _pending.set(pending if active else None)
    try:
        yield pending
        pending.read()
    finally:
        _pending.reset(token)


def require(holds: Tensor, figures: Callable[[], Sequence[Tensor]], message: Message) -> None:
    """Refuse where a condition does not hold: at once, or within ``later`` when it is read.

    Args:
        holds: bool, one value.
        figures: gives the numbers that the message names, one value each; asked for where they are needed.
        message: the sentence, given the figures.

    Raises:
        AdvvidError: with the message.

    Example:
        >>> require(torch.tensor(True), lambda: [], lambda figures: "never said")
    """
    pending = _pending.get()
    if pending is not None:
        pending.note(holds, figures(), message)
    elif not bool(holds):
        raise AdvvidError(message([float(figure) for figure in figures()]))


def wide(value: Sum) -> Sum:
    """Return a value in double precision, as Python adds, and apart from its graph."""
    return value.detach().double() if isinstance(value, Tensor) else value


def numbers(sums: Sequence[Sum]) -> list[float]:
    """Return sums as numbers; those on a GPU are read in one synchronisation.

    Example:
        >>> numbers([1.0, torch.tensor(2)])
        [1.0, 2.0]
    """
    on_gpu = [value for value in sums if isinstance(value, Tensor) and value.is_cuda]
    read = iter(torch.stack([value.double() for value in on_gpu]).tolist() if on_gpu else ())
    return [next(read) if isinstance(value, Tensor) and value.is_cuda else float(value) for value in sums]


def on_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors on the CPU; those on a GPU are packed there, and travel in one copy.

    Example:
        >>> on_host({"a": torch.ones(2)})
        {'a': tensor([1., 1.])}
    """
    found = {name: value.detach().cpu() for name, value in tensors.items() if not value.is_cuda}
    # The widest type goes first, so that every part begins where its type may.
    away = sorted((name for name in tensors if name not in found), key=lambda name: -tensors[name].element_size())
    packed = [tensors[name].detach().contiguous().view(-1).view(torch.uint8) for name in away]
    parts = torch.cat(packed).cpu().split([len(part) for part in packed]) if packed else ()
    for name, part in zip(away, parts, strict=True):
        found[name] = part.view(tensors[name].dtype).view(tensors[name].shape)
    return {name: found[name] for name in tensors}

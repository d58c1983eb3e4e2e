"""NaN and infinity stop a run: in what a model puts out, and in the weights that it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from advvid.core.errors import AdvvidError
from advvid.core.later import require


def require_finite(out: Tensor, ids: Sequence[str], what: str, subject: str = "the model's output") -> None:
    """Refuse outputs that hold NaN or infinity; on a GPU when it is read, see ``advvid.core.later``.

    An argmax over NaN is still a class, so that such a clip could count as right.

    Args:
        out: what the model put out, ``[B, ...]``.
        ids: of the clips.
        what: was scored, such as ``the clean clips``.
        subject: what these numbers are.

    Raises:
        AdvvidError: naming the first clip.

    Example:
        >>> require_finite(torch.zeros(1, 2), ["a"], "the clean clips")
    """
    if not len(out):
        return
    rows = out.reshape(len(out), -1)
    bad = ~rows.isfinite().all(dim=1)

    def figures() -> list[Tensor]:
        first = bad.int().argmax()
        return [first, rows.index_select(0, first[None]).isnan().any(), bad.sum()]

    def message(found: Sequence[float]) -> str:
        first, is_nan, count = found
        kind = "NaN" if is_nan else "infinite"
        return (
            f"{subject} is {kind} on clip {ids[int(first)]} ({count:.0f} of {len(ids)} clips of its batch) among {what}: "
            "no verdict rests on such a number; look for a division by zero, an overflow or damaged weights"
        )

    require(~bad.any(), figures, message)


def require_finite_loss(loss: Tensor, epoch: int, step: int, last: Path) -> None:
    """Refuse a loss that is NaN or infinite; on a GPU when the step is read, see ``advvid.core.later``.

    Args:
        loss: summed so far, one value.
        epoch: counted from 0.
        step: of the epoch, counted from 0.
        last: the checkpoint to go back to, if it is there.

    Raises:
        AdvvidError: naming the step and the checkpoint.
    """

    def message(figures: Sequence[float]) -> str:
        kept = f"the last good checkpoint is {last}" if last.is_file() else "no checkpoint was written yet"
        became = f"the loss became {figures[0]} at epoch {epoch + 1}, step {step + 1}"
        return f"{became}: lower the learning rate or set schedule.clip_norm; {kept}"

    require(loss.isfinite(), lambda: [loss], message)


def require_finite_state(state: Any, source: str | Path) -> None:
    """Refuse weights or buffers that hold NaN or infinity.

    Args:
        state: tensors by name, in nested mappings and lists too.
        source: where they come from, for the message.

    Raises:
        AdvvidError: naming the first tensor.
    """
    bad = [(name, tensor) for name, tensor in _tensors(state) if not bool(tensor.isfinite().all())]
    if bad:
        name, tensor = bad[0]
        raise AdvvidError(
            f"{source} holds NaN or infinity in {name} ({int((~tensor.isfinite()).sum())} of {tensor.numel()} values; "
            f"{len(bad)} tensor{'s' * (len(bad) > 1)} in all): its training broke down, so take an earlier checkpoint"
        )


def _tensors(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        if state.is_floating_point() or state.is_complex():
            yield name, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(state, list | tuple):
        for number, value in enumerate(state):
            yield from _tensors(value, f"{name}.{number}" if name else str(number))


class FiniteWatch:
    """Notes whether a model ever put out NaN or infinity, without a synchronisation until it is asked."""

    def __init__(self) -> None:
        self._seen: Tensor | None = None

    def require_none(self, message: Callable[[], str]) -> None:
        """Refuse where there was any so far; on a GPU when it is read, see ``advvid.core.later``.

        Raises:
            AdvvidError: with the message.
        """
        if self._seen is not None:
            require(~self._seen, list, lambda figures: message())

    def note(self, _module: nn.Module, _given: Any, out: Any) -> None:
        """Take note of one output; the form of a forward hook."""
        if isinstance(out, Tensor):
            bad = ~out.detach().isfinite().all()
            self._seen = bad if self._seen is None else self._seen | bad.to(self._seen.device)

    def follow(self, model: nn.Module) -> RemovableHandle | None:
        """Take note of every output of a model from now on; None for a compiled one, which a hook would compile again."""
        if any(getattr(module, "_compiled_call_impl", None) is not None for module in model.modules()):
            return None
        return model.register_forward_hook(self.note)

    def saw(self) -> bool:
        """Tell whether there was any so far; this synchronises."""
        return self._seen is not None and bool(self._seen)


@contextmanager
def watching(model: nn.Module) -> Iterator[FiniteWatch]:
    """Watch a model's outputs for as long as a block.

    A compiled model is not watched; what comes of its outputs is checked elsewhere.

    Example:
        >>> with watching(nn.Identity()) as watch:
        ...     _ = model(torch.tensor([float("nan")]))        # doctest: +SKIP
        >>> watch.saw()                                        # doctest: +SKIP
        True
    """
    watch = FiniteWatch()
    handle = watch.follow(model)
    try:
        yield watch
    finally:
        if handle is not None:
            handle.remove()

"""What a run wants of every model: that it says what it puts out, and whether the data's inputs pass through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from advvid.core.errors import AdvvidError
from advvid.models.modes import mode


@runtime_checkable
class RunModel(Protocol):
    """A model of any family: it knows how to check itself against a data set."""

    # What it puts out, ``logits`` or ``frames``; it must be what the data set's task wants, see ``tasks.base.DatasetTask``.
    output: ClassVar[str]

    def check(self, clip_shape: Sequence[int]) -> None:
        """Make sure, without computing anything where possible, that the data's inputs pass through the model.

        Args:
            clip_shape: of one input: ``(C, T, H, W)`` of a clip, ``(T, F)`` of features.

        Raises:
            AdvvidError: if they do not, naming the options to change.
        """


def give_shape(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of what a model puts out in evaluation mode for inputs of this shape.

    Tensors without data go through it; only a model with a step that needs data is computed, on zeros. What it raises
    over such inputs is passed on; its modules' modes come back as they were.

    Raises:
        AdvvidError: if it puts out anything but a tensor.

    Example:
        >>> give_shape(nn.Linear(3, 2), (5, 3))
        (5, 2)
    """
    with mode(model, False), torch.no_grad():
        out = _without_data(model, shape)
        if out is None:
            out = model(torch.zeros(shape))
    if not isinstance(out, Tensor):
        raise AdvvidError(
            f"the network puts out a {type(out).__name__}: let its forward return the logits [B, K] alone"
        )
    return tuple(out.shape)


def check_logits(model: nn.Module, shape: tuple[int, ...], classes: int) -> None:
    """Make sure that a model gives one row of logits per input, for inputs of this shape.

    Raises:
        AdvvidError: if its output has another shape; what the model raises over such inputs is passed on.
    """
    given = give_shape(model, shape)
    if given != (shape[0], classes):
        raise AdvvidError(
            f"the network gives {list(given)} for {shape[0]} clips instead of [{shape[0]}, {classes}]: give its head as "
            "many outputs as there are classes, as in model.net.num_classes=${..num_classes}"
        )


def _without_data(model: nn.Module, shape: tuple[int, ...]) -> Tensor | None:
    """Run the model on tensors without data; None where it has a step that needs data."""
    state = {name: t.to("meta") for name, t in [*model.named_parameters(), *model.named_buffers()]}
    try:
        return functional_call(model, state, (torch.zeros(shape, device="meta"),))
    except (RuntimeError, ValueError, AssertionError, IndexError, TypeError):
        return None

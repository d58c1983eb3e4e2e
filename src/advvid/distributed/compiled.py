"""``runtime.compile``: a network's passes compiled, for batches that shrink or, with CUDA graphs, for those of one shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from advvid.core.errors import AdvvidError
from advvid.core.schedules import Schedule

GRAPHS = "reduce-overhead"
Compile = bool | Literal["reduce-overhead"]


def compile_model(model: nn.Module, how: Compile, shape: Sequence[int]) -> None:
    """Compile a model in place.

    ``reduce-overhead`` has PyTorch record CUDA graphs of the passes with gradients on whole batches of a training, those of
    the attack's steps included, and replay them without the work of the host. Passes of another shape (a validation whose
    fooled clips leave, the table) are not compiled: each of their shapes would take a graph of its own.

    Args:
        model: whose calls are compiled.
        how: true for one code for every size of batch, or ``reduce-overhead``.
        shape: of the batches of a training, ``[B, 3, T, H, W]``.

    Example:
        >>> compile_model(model, "reduce-overhead", (32, 3, 16, 112, 112))      # doctest: +SKIP
    """
    if how != GRAPHS:
        model.compile(dynamic=True)  # batches shrink as clips are fooled
        return
    plain, shape = model._call_impl, tuple(shape)
    recorded = torch.compile(plain, mode=GRAPHS, dynamic=False)

    def call(clips: Any, *args: Any, **named: Any) -> Any:
        if not (isinstance(clips, Tensor) and clips.shape == shape and torch.is_grad_enabled()):
            return plain(clips, *args, **named)
        out = recorded(clips, *args, **named)
        # The next replay writes into the same memory, while somebody may still hold these answers.
        return out.clone() if isinstance(out, Tensor) else out

    model._compiled_call_impl = call


def check_graphs(how: Compile, on_gpu: bool, mode: str, schedule: Schedule) -> None:
    """Refuse CUDA graphs where there is nothing of one shape to record, or where gradients outlive a replay.

    Args:
        how: ``runtime.compile``.
        on_gpu: whether the run computes on a GPU.
        mode: of the run.
        schedule: of the training.

    Raises:
        AdvvidError: naming what does not go with it.
    """
    if how != GRAPHS:
        return
    if not on_gpu:
        raise AdvvidError(
            f"runtime.compile={GRAPHS} records CUDA graphs, which need a GPU: choose runtime.compile=false"
        )
    if mode not in ("train", "train_eval"):
        raise AdvvidError(
            f"runtime.compile={GRAPHS} records a training's steps of one shape, and with mode={mode} batches shrink as clips "
            "are fooled: choose runtime.compile=true"
        )
    if schedule.accumulate > 1 or schedule.micro_batch not in (None, schedule.batch_size):
        raise AdvvidError(
            f"runtime.compile={GRAPHS} writes each batch's gradients over those of the last, which schedule.accumulate and "
            "schedule.micro_batch add up: leave these out, or choose runtime.compile=true"
        )

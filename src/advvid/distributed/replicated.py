"""Weights in training that every process holds whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from advvid.distributed.parallel import Processes


class Replicated:
    """Every process holds the whole model, its gradients and the optimiser's state.

    Args:
        processes: the processes that share the training.
    """

    # Whether a process that runs out of memory may do a batch again by itself.
    retries: ClassVar[bool] = True

    def __init__(self, processes: Processes) -> None:
        self.processes = processes

    def place(self, model: nn.Module) -> nn.Module:
        """Return the model that is trained in place of a model on this process's device: itself."""
        return model

    def average(self, model: nn.Module, decay: float) -> AveragedModel:
        """Return a moving average of a model's weights and buffers, which begins as a copy of it.

        Args:
            model: as it was handed to ``place``.
            decay: see ``Schedule.ema``.
        """
        return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)

    def gathered(self, model: nn.Module) -> AbstractContextManager[None]:
        """Have whole weights for as long as a block, in which processes need not do the same number of passes."""
        return nullcontext()

    def agreed(self, clips: int) -> int:
        """Return how many clips of a batch this process takes at once, from what its memory allows."""
        return clips

    def reduce(
        self, parameters: Iterable[nn.Parameter], *numbers: float | torch.Tensor
    ) -> Sequence[float | torch.Tensor]:
        """Make every gradient the mean over processes and return the sums of ``numbers``."""
        return self.processes.average_gradients(parameters, *numbers)

    def whole(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return a model's or an optimiser's state as a checkpoint holds it, in the first process at least."""
        return dict(state)

    def load(self, model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        """Put whole weights into a model in training."""
        model.load_state_dict(state)

    def load_optimizer(self, optimizer: Any, state: dict[str, Any]) -> None:
        """Put a whole state into the optimiser of a model in training."""
        optimizer.load_state_dict(state)

    def unwrap(self, model: nn.Module, plain: nn.Module) -> nn.Module:
        """Return a trained model as an ordinary one.

        Args:
            model: in training, or its average.
            plain: the model that ``place`` was given.
        """
        return model

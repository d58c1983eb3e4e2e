"""What a task must say so that attacks, trainer and evaluator need not know it."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class Task(Protocol):
    """What is asked of the model: how a wrong answer is measured, and what counts as right.

    Shape:
        out: the model's output, ``[B, ...]``; target: ``[B]`` or ``[B, ...]``.
    """

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each clip, ``[B]``; attacks raise it, training lowers its mean."""

    def correct(self, out: Tensor, target: Tensor) -> Tensor | None:
        """Return ``bool [B]``, or None where the task has no notion of a right answer."""

    def predict(self, out: Tensor) -> Tensor:
        """Return what is written down as the prediction of each clip, ``[B]``."""

    def label(self, target: Tensor) -> list[Any]:
        """Return what is written down as the true answer of each clip: a number, a list of them, or None."""

    def margin(self, out: Tensor, target: Tensor) -> Tensor | None:
        """Return how far each verdict is from tipping over, ``[B]``; negative when wrong."""

    def metrics(self, outs: Tensor, targets: Tensor) -> dict[str, Any]:
        """Return the task's further measures over a whole split."""


class DatasetTask(Task, Protocol):
    """The task of a data set, which also says what a model must put out."""

    @property
    def output(self) -> str:
        """Return ``logits``, a row ``[B, K]`` per clip, or ``frames``, shaped like the clips."""

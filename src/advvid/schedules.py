"""How long to train, with which optimiser, and how the learning rate moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch.optim import lr_scheduler

from advvid.errors import AdvvidError

KINDS = ("one_cycle", "cosine", "step", "plateau", "constant")


@dataclass(kw_only=True)
class Schedule:
    """The settings of a training run that no defense or model cares about.

    Args:
        epochs: passes over the training split.
        batch_size: clips per step and device.
        optimizer: makes the optimiser from the parameters.
        kind: ``one_cycle``, ``cosine``, ``step``, ``plateau`` or ``constant``.
        warmup: part of training, in [0, 1), in which the rate rises (linearly; one_cycle's own rise).
        milestones: epochs at which ``step`` multiplies the rate by ``gamma``.
        gamma: factor of ``step`` and ``plateau``.
        patience: epochs without a better validation loss before ``plateau`` acts.
        ema: decay of the weights' moving average, 0 for none; the average is what is validated, saved and scored.
        clip_norm: largest l2 norm of the gradient, or None.
        micro_batch: clips of a batch whose gradients are computed at once; None for as many as the memory takes. BatchNorm
            then sees these clips at once, not the batch.
        accumulate: steps whose gradients are added before the weights move.
        select: which checkpoint is scored on the test split: ``last`` or ``best`` (chosen on validation).
        checkpoint_minutes: time between checkpoints within an epoch (each epoch ends with one anyway).
    """

    epochs: int = 60
    batch_size: int = 32
    optimizer: Callable[..., torch.optim.Optimizer] = field(
        default_factory=lambda: partial(torch.optim.AdamW, lr=3e-3, weight_decay=1e-3)
    )
    kind: str = "one_cycle"
    warmup: float = 0.2
    milestones: Sequence[int] = ()
    gamma: float = 0.1
    patience: int = 5
    ema: float = 0.0
    clip_norm: float | None = None
    accumulate: int = 1
    micro_batch: int | None = None
    select: str = "last"
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise AdvvidError(f"schedule.{name}={value!r} is not possible: choose a whole number of at least 1")
        if self.kind not in KINDS:
            raise AdvvidError(f"schedule.kind={self.kind!r} is not known: choose one of {', '.join(KINDS)}")
        if self.select not in ("last", "best"):
            raise AdvvidError(f"schedule.select={self.select!r} is not known: choose last or best")
        for name in ("warmup", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise AdvvidError(f"schedule.{name}={getattr(self, name)!r} must be at least 0 and below 1")

    @property
    def steady(self) -> bool:
        """Whether the learning rate depends on nothing but the epochs behind it, so that a training may go on for longer."""
        return self.kind not in ("one_cycle", "cosine") and not self.warmup

    def scheduler(self, optimizer: torch.optim.Optimizer, total: int) -> lr_scheduler.LRScheduler:
        """Return the learning-rate scheduler.

        Args:
            optimizer: with the peak rate set.
            total: optimiser steps of the whole run; the scheduler is stepped after each of them, except for
                ``plateau``, which is stepped with the validation loss after each epoch.
        """
        lrs = [group["lr"] for group in optimizer.param_groups]
        # The cycle needs a step up, a peak and a step down; a shorter run keeps its rate.
        if self.kind == "one_cycle" and total >= 4:
            momentum = any("momentum" in g or "betas" in g for g in optimizer.param_groups)
            return lr_scheduler.OneCycleLR(
                optimizer, lrs, total_steps=total, pct_start=max(self.warmup, 2 / total), cycle_momentum=momentum
            )
        if self.kind == "plateau":
            return lr_scheduler.ReduceLROnPlateau(optimizer, factor=self.gamma, patience=self.patience)
        rise = round(self.warmup * total)
        per_epoch = max(1, total // self.epochs)
        marks = [m * per_epoch - rise for m in self.milestones if m * per_epoch > rise]
        main: lr_scheduler.LRScheduler
        if self.kind == "cosine":
            main = lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, total - rise))
        elif self.kind == "step":
            main = lr_scheduler.MultiStepLR(optimizer, marks, self.gamma)
        else:
            main = lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        if rise < 1:
            return main
        start = lr_scheduler.LinearLR(optimizer, start_factor=1 / (rise + 1), total_iters=rise)
        return lr_scheduler.SequentialLR(optimizer, [start, main], milestones=[rise])

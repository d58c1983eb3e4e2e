"""How long to train, with which optimiser, and how the learning rate moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch.optim import lr_scheduler

from advvid.core.allowed import check_fields
from advvid.core.kinds import Count, NotNegative, Positive, Whole


@dataclass(kw_only=True)
class Schedule:
    """The settings of a training run that no defense or model cares about.

    Args:
        epochs: passes over the training split; 0 scores a network as it comes, see ``advvid.training.untrained``.
        batch_size: clips per step and device.
        optimizer: makes the optimiser from the parameters.
        kind: ``one_cycle``, ``cosine``, ``step``, ``plateau`` or ``constant``.
        warmup: part of training, in [0, 1), in which the rate rises (linearly; one_cycle's own rise).
        milestones: epochs at which ``step`` multiplies the rate by ``gamma``.
        gamma: factor of ``step`` and ``plateau``.
        patience: epochs without a better validation loss before ``plateau`` acts.
        updates_per_epoch: optimiser steps of an epoch, over as many passes as that takes, for splits of which a pass is too
            long to wait for; None: an epoch is a pass. Everything above that is counted in epochs then means these.
        stop_after: validations in a row that find nothing better before training ends early; None: never.
        ema: decay of the weights' moving average, 0 for none; the average is what is validated, saved and scored.
        clip_norm: largest l2 norm of the gradient, or None.
        micro_batch: clips of a batch whose gradients are computed at once; None for as many as the memory takes. BatchNorm
            then sees these clips at once, not the batch.
        accumulate: steps whose gradients are added before the weights move.
        select: which checkpoint is scored on the test split: ``last`` or ``best`` (chosen on validation).
        validate_every: epochs from one validation to the next; the last epoch ends with one in any case. ``best`` and
            ``plateau`` know the epochs with a validation alone.
        checkpoint_minutes: time between checkpoints within an epoch (each epoch ends with one anyway).
    """

    epochs: Whole = 60
    batch_size: Count = 32
    optimizer: Callable[..., torch.optim.Optimizer] = field(
        default_factory=lambda: partial(torch.optim.AdamW, lr=3e-3, weight_decay=1e-3)
    )
    kind: Literal["one_cycle", "cosine", "step", "plateau", "constant"] = "one_cycle"
    warmup: Annotated[float, Ge(0), Lt(1)] = 0.2
    milestones: Sequence[Count] = ()
    gamma: Annotated[float, Gt(0), Le(1)] = 0.1
    patience: Whole = 5
    updates_per_epoch: Count | None = None
    stop_after: Count | None = None
    ema: Annotated[float, Ge(0), Lt(1)] = 0.0
    clip_norm: Positive | None = None
    accumulate: Count = 1
    micro_batch: Count | None = None
    select: Literal["last", "best"] = "last"
    validate_every: Count = 1
    checkpoint_minutes: NotNegative = 10.0

    def __post_init__(self) -> None:
        check_fields(self)

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
        per_epoch = max(1, total // max(1, self.epochs))
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

"""What a training saves of itself, and how it goes on from there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.core.resuming import go_on, may_lengthen
from advvid.training.validation import Meter

if TYPE_CHECKING:
    from advvid.training.trainer import Trainer


def saved(trainer: Trainer, epoch: int, batch: int) -> dict[str, Any]:
    """Return all that a resumed training needs; every process takes part in it, the first one has the whole.

    Args:
        trainer: between two updates.
        epoch: that goes on, counted from 0.
        batch: of that epoch that comes next.
    """
    meter = trainer.meter.together(trainer.processes) if batch else trainer.meter
    whole, average = trainer.placement.whole, trainer.average
    model, optimizer = whole(trainer.model.state_dict()), whole(trainer.optimizer.state_dict())
    averaged = None if average is None else whole(average.state_dict())
    if not trainer.processes.main:
        return {}
    return {
        "model": checkpoint.clone(model),
        "average": None if averaged is None else checkpoint.clone(averaged),
        "optimizer": optimizer,
        "scheduler": trainer.scheduler.state_dict(),
        "defense": trainer.defense.state_dict(),
        "epoch": epoch,
        "batch": batch,
        "meter": dataclasses.asdict(meter),
        "total_passes": trainer.total_passes,
        "best": trainer.best,
        "waited": trainer.waited,
        "seed": trainer.seed,
        **trainer.info,
        "identity": trainer.rests_on.plain(),
        "resumed_with": trainer.resumed_with,
    }


def restore(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Put a training where a checkpoint left it.

    Args:
        trainer: before its first update.
        state: what ``saved`` gave.

    Raises:
        AdvvidError: if the training rests on something else than the checkpoint.
    """
    if "optimizer" not in state:
        raise AdvvidError(
            f"the network in {trainer.run_dir} was scored as it came (schedule.epochs=0), so that there is no training to go on "
            f"with: train in another folder from model.checkpoint={trainer.last}"
        )
    longer, config = may_lengthen(trainer.schedule, trainer.defense), trainer.info.get("config")
    trainer.resumed_with = go_on(state, trainer.rests_on, trainer.run_dir, config, longer)
    checkpoint.load_model(trainer.plain, state["model"], trainer.last)
    trainer.placement.load(trainer.model, state["model"])
    if trainer.average is not None:
        trainer.placement.load(trainer.average, state["average"])
    trainer.placement.load_optimizer(trainer.optimizer, state["optimizer"])
    trainer.scheduler.load_state_dict(state["scheduler"])
    trainer.defense.load_state_dict(state["defense"])
    trainer.start_epoch, trainer.start_batch = state["epoch"], state["batch"]
    # What all processes had counted together goes on with the first one.
    trainer.meter = Meter(**state["meter"]) if trainer.processes.main else Meter()
    trainer.total_passes, trainer.best = state["total_passes"], state["best"]
    trainer.waited = state.get("waited", 0)

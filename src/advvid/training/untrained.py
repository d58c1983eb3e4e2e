"""A network that is scored as it comes: its checkpoint without a training, so that all that is done with a run is done with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from advvid.core import checkpoint
from advvid.core.checkpoint import Which
from advvid.core.errors import AdvvidError
from advvid.core.identity import Identity
from advvid.core.schedules import Schedule
from advvid.defenses.base import Defense
from advvid.defenses.none import NoDefense


def check_epochs(schedule: Schedule, defense: Defense) -> None:
    """Refuse no epoch at all where something has to be trained: a defense, or what a defense trains first.

    Raises:
        AdvvidError: naming the option and the remedy.
    """
    if not schedule.epochs and not isinstance(defense, NoDefense):
        raise AdvvidError(
            f"schedule.epochs=0 scores the network as it comes, and {type(defense).__name__} is a way to train: choose "
            "defense=none, or 1 epoch and more"
        )
    for name, own in vars(defense).items():
        if isinstance(own, Schedule) and not own.epochs:
            raise AdvvidError(
                f"defense.{name}.epochs=0 would train nothing, and the defense needs it: choose 1 epoch and more"
            )


def keep_untrained(
    run_dir: Path, model: nn.Module, defense: Defense, info: Mapping[str, Any], identity: Identity, select: Which
) -> None:
    """Write the checkpoint of a network that was not trained.

    Args:
        run_dir: of the run; ``checkpoints/last.pt`` is written.
        model: with the weights that it came with (``model.checkpoint``, ``model.path``), or new ones.
        defense: none, whose state is saved as after a training.
        info: configuration and classes.
        identity: what a training would rest on.
        select: the checkpoint that the schedule scores, which is written too.
    """
    state = {
        "model": checkpoint.clone(model.state_dict()),
        "average": None,
        "defense": defense.state_dict(),
        "epoch": 0,
        **info,
    }
    for name in sorted({"last", select}):
        checkpoint.save(
            run_dir / "checkpoints" / f"{name}.pt", {**state, "identity": identity.plain(), "resumed_with": []}
        )

"""What a defense needs before its own training: trained inside the run folder, or taken from another run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from advvid.attacks.base import Attack
from advvid.core import checkpoint, digests
from advvid.core.errors import AdvvidError
from advvid.core.identity import Identity
from advvid.core.resuming import START, of_parts
from advvid.core.schedules import Schedule
from advvid.data.loader import Clips
from advvid.defenses.base import Defense
from advvid.defenses.preparation import FOLDER
from advvid.distributed.lightning import Fabric
from advvid.distributed.parallel import Processes
from advvid.tracking.trackers import NoTracker
from advvid.training.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prerequisites:
    """Trains or loads what a defense needs before the run's own training; a ``Preparation`` of the defenses.

    Args:
        fabric: devices and precision.
        run_dir: the run folder.
        train_set: the training split.
        val_set: the validation split.
        attacks: of the run, by name.
        seed: of the run.
        info: what the run writes into its checkpoints (config, classes).
        workers: loader processes.
        processes: the processes that share the work.
        resume: whether the run goes on with what lies in its folder.
        identity: what the run's training rests on; a prerequisite shares data, model, seed and the like with it.
    """

    fabric: Fabric
    run_dir: Path
    train_set: Clips
    val_set: Clips
    attacks: Mapping[str, Attack]
    seed: int
    info: Mapping[str, Any]
    workers: int | str = 0
    processes: Processes = field(default_factory=Processes)
    resume: bool = False
    identity: Identity = field(default_factory=lambda: Identity({}))

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return self.fabric.device

    def train(
        self,
        name: str,
        model: nn.Module,
        defense: Defense,
        schedule: Schedule,
        attacks: Mapping[str, Attack] | None = None,
    ) -> float:
        """Train a model in place, in ``<run_dir>/prerequisites/<name>/``; a resumed run goes on there.

        What is finished is not trained again, unless anything changed that it rests on: that is refused.

        Args:
            name: of the folder.
            model: what is trained; in the end it holds the weights that the schedule selects.
            defense: which objective.
            schedule: its own, apart from the run's.
            attacks: None for those of the run.

        Returns:
            the forward-backward passes that it took, over all clips.

        Raises:
            AdvvidError: if the folder holds one that rests on something else.
        """
        folder = self.run_dir / FOLDER / name
        log.info("training the %s first, in %s", name, folder)
        if self.processes.main:
            folder.mkdir(parents=True, exist_ok=True)
        self.processes.barrier()
        against = self.attacks if attacks is None else attacks
        trainer = Trainer(
            fabric=self.fabric,
            model=model,
            defense=defense,
            attacks=against,
            schedule=schedule,
            run_dir=folder,
            seed=self.seed,
            tracker=NoTracker(),
            info=dict(self.info),
            workers=self.workers,
            processes=self.processes,
            identity=self._identity(name, model, defense, schedule, against),
        )
        scored = trainer.fit(self.train_set, self.val_set, resume=self.resume)
        self.processes.barrier()  # the first process may still be writing
        if schedule.select == "best":
            path = folder / "checkpoints" / "best.pt"
            checkpoint.load_model(model, checkpoint.weights(checkpoint.load(path)), path)
        elif scored is not model:
            model.load_state_dict(scored.state_dict())
        return trainer.total_passes

    def _identity(
        self, name: str, model: nn.Module, defense: Defense, schedule: Schedule, attacks: Mapping[str, Attack]
    ) -> Identity:
        """Return what a prerequisite rests on: its own training, what it shares with the run, and where it starts."""
        own = of_parts(defense, schedule, attacks, self.seed, f"{name}_schedule")
        return Identity({**self.identity.parts, **own.parts, START: {name: digests.of_tensors(model.state_dict())}})

    def load(self, option: str, source: str, model: nn.Module) -> None:
        """Put the weights of another run into a model.

        Args:
            option: that names the run, for messages.
            source: its folder, or a .pt file.
            model: what the weights belong to.

        Raises:
            AdvvidError: if there is no such checkpoint, or it is of another model or other classes.
        """
        try:
            path = checkpoint.find(source)
            state = checkpoint.load_run(path)
            if list(state["classes"]) != list(self.info["classes"]):
                raise AdvvidError(
                    f"{path} knows {len(state['classes'])} classes, which are not the {len(self.info['classes'])} of the data "
                    "set: give a run on the same data set"
                )
            checkpoint.load_model(model, checkpoint.weights(state), path)
        except AdvvidError as error:
            raise AdvvidError(f"{option}={source}: {error}") from None

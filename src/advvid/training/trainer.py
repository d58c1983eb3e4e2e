"""The training loop. It knows protocols only: any defense, any attack, any model."""

from __future__ import annotations

import dataclasses
import logging
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from advvid.attacks.base import Attack
from advvid.core import checkpoint
from advvid.core.batch import Batch, derive_seed
from advvid.core.errors import AdvvidError
from advvid.core.finite import require_finite_loss
from advvid.core.identity import Identity
from advvid.core.later import Pending, later
from advvid.core.profiling import LOGGING, Profile, scope
from advvid.core.progress import bar
from advvid.core.resuming import of_parts, with_machine
from advvid.core.schedules import Schedule
from advvid.core.seeding import seed_global
from advvid.data.loader import Clips, Feed, counted_batches, eval_batches, train_length
from advvid.data.prefetch import prefetch
from advvid.defenses.base import Defense, Step
from advvid.distributed.lightning import Fabric
from advvid.distributed.micro_batches import micro_batch, out_of_memory
from advvid.distributed.parallel import Processes
from advvid.distributed.placement import placement
from advvid.distributed.signals import StopRequest
from advvid.tracking.trackers import Tracker
from advvid.training.journal import Journal, summary_line
from advvid.training.optimizers import optimizers, rates
from advvid.training.state import restore, saved
from advvid.training.validation import Attacks, Meter, Watched, score, watched

log = logging.getLogger(__name__)

# Steps on a GPU after which its loss and its conditions are read.
READ_EVERY = 20


@dataclass(kw_only=True)
class Trainer:
    """Trains a model under a defense, writes ``metrics.jsonl`` and checkpoints, and resumes from them.

    Every random draw is a function of (seed, epoch, step), so a resumed run repeats what the killed one would have
    done, bit for bit on a CPU.

    Args:
        fabric: devices and precision.
        model: the wrapped model.
        defense: the objective, and what adapts after an epoch.
        attacks: what is trained against, by name.
        schedule: epochs, optimiser and learning rate.
        run_dir: where ``metrics.jsonl`` and ``checkpoints/`` go.
        seed: of everything random.
        tracker: receives each epoch's line.
        info: written into every checkpoint (config, classes).
        workers: loader processes.
        processes: that share the work.
        profiled: write where the time of a few steps goes.
        identity: what the training rests on, which a resumed one must share; None takes it from the parts given here.
    """

    fabric: Fabric
    model: nn.Module
    defense: Defense
    attacks: Mapping[str, Attack]
    schedule: Schedule
    run_dir: Path
    seed: int
    tracker: Tracker
    info: dict[str, Any]
    workers: int | str = 0
    processes: Processes = field(default_factory=Processes)
    profiled: bool = False
    identity: Identity | None = None

    def __post_init__(self) -> None:
        self.plain = model = self.model
        self.defense.processes = self.processes
        self.profile = Profile(self.run_dir / "profile", "training", self.profiled and self.processes.main)
        self.journal = Journal(self.run_dir, self.tracker, self.processes.main)
        if not any(p.requires_grad for p in model.parameters()):
            raise AdvvidError("the model has nothing to train: every weight is frozen, so choose another model.freeze")
        # Fabric would wrap the model so that only its own backward may follow; attacks take gradients of the input.
        self.fabric.to_device(model)
        self.placement = placement(self.processes)
        self.model = self.placement.place(model)
        self.average = self.placement.average(model, self.schedule.ema) if self.schedule.ema else None
        moved, self.scheduled = optimizers(self.model, self.defense, self.schedule)
        self.optimizer: Any = self.fabric.setup_optimizers(moved)
        self.rests_on = with_machine(
            self.identity or of_parts(self.defense, self.schedule, self.attacks, self.seed), self.fabric.device
        )
        self.resumed_with: list[str] = []
        self.start_epoch = self.start_batch = 0
        self.stop, self.checks = StopRequest(), Pending()
        self.meter, self.total_passes, self.best, self.waited = Meter(), 0.0, -math.inf, 0

    def fit(self, train_set: Clips, val_set: Clips, resume: bool = False) -> nn.Module:
        """Train to the end of the schedule and return the model that is to be scored (the average, where kept).

        Raises:
            AdvvidError: if the loss is not finite, naming the step and the last good checkpoint.
        """
        size, given, processes = self.schedule.batch_size, self.schedule.micro_batch, self.processes
        length = train_length(train_set, size, processes.share)
        if self.schedule.updates_per_epoch is not None:
            length = self.schedule.updates_per_epoch * self.schedule.accumulate
        updates = math.ceil(length / self.schedule.accumulate) * self.schedule.epochs
        self.scheduler = rates(self.optimizer, self.scheduled, self.schedule, updates)
        if resume:
            self._resume()
        clip = next(eval_batches(train_set, 1, [0])).to(self.fabric.device).inputs
        with self.placement.gathered(self.model):
            micro = micro_batch(self.model, clip, size, given, "training", processes.world_size)
        self.micro = self.placement.agreed(micro)
        # A GPU is not waited for at every step: what has to hold is read at a few of them, and before a checkpoint.
        on_gpu = self.fabric.device.type == "cuda"
        with Feed([train_set, val_set], self.workers) as self.feed, self.stop, later(on_gpu) as self.checks:
            for epoch in range(self.start_epoch, self.schedule.epochs):
                if self.schedule.stop_after is not None and self.waited >= self.schedule.stop_after:
                    log.info("stopped after epoch %d: %d validations found nothing better", epoch, self.waited)
                    break
                began = time.perf_counter()
                already = self.meter.clips
                self._train_epoch(train_set, epoch, length)
                speed = (self.meter.clips - already) / (time.perf_counter() - began) * self.processes.world_size
                self._end_epoch(train_set, val_set, epoch, length, speed)
                self._stop_if_asked()  # after the last epoch as well: what follows takes long
        return self.placement.unwrap(self.scored, self.plain)

    def _stop_if_asked(self) -> None:
        """Stop all processes where one got a signal; what they did is saved."""
        if self.processes.sum([float(self.stop.asked)])[0]:
            self.stop.stop(self.last)

    @property
    def last(self) -> Path:
        """The checkpoint that a resumed training goes on from."""
        return self.run_dir / "checkpoints" / "last.pt"

    @property
    def scored(self) -> nn.Module:
        """The model that validation and the table see."""
        return self.average.module if self.average is not None else self.model

    def _train_epoch(self, train_set: Clips, epoch: int, length: int) -> None:
        size, share = self.schedule.batch_size, self.processes.share
        numbers = range(epoch * length + self.start_batch, (epoch + 1) * length)
        batches = counted_batches(train_set, size, self.seed, numbers, workers=self.feed, share=share)
        first, self.start_batch = self.start_batch, 0
        saved = time.monotonic()
        clips = length * size
        rest = clips * (self.schedule.epochs - epoch - 1)
        with bar(f"epoch {epoch + 1}/{self.schedule.epochs}", clips, self.meter.clips, rest) as show:
            for index, raw in enumerate(self.profile.over(prefetch(batches, self.fabric.device, train_set)), first):
                # Dropout and the like draw from the global generator: seed it by the step, so that resuming needs no state.
                own = [self.processes.rank] if self.processes.rank else []
                seed_global(derive_seed(self.seed, "step", epoch, index, *own), self.fabric.device)
                step = Step(epoch, self.schedule.epochs, index, length, self.seed)
                last = index + 1 == length
                due = time.monotonic() - saved > 60 * self.schedule.checkpoint_minutes or self.stop.asked
                save = self._update(raw.to(self.fabric.device), step, last, due)
                with scope(LOGGING):
                    show.advance(len(raw))
                    if save and not last:
                        self._save("last", epoch, index + 1)
                if save and not last:
                    saved = time.monotonic()
                    self._stop_if_asked()

    def _update(self, batch: Batch, step: Step, last: bool, due: bool) -> bool:
        """Add one batch's gradient and move the weights where it is time to.

        Returns:
            whether they moved and some process finds a checkpoint due.
        """
        self.model.train()
        with self.placement.gathered(self.model):
            self._add_gradient(batch, step)
        if (step.iteration + 1) % self.schedule.accumulate and not last:
            return False
        # Every process learns of a loss that is not finite, and stops with the others.
        total, wanted = self.placement.reduce(self.model.parameters(), self.meter.loss, float(due))
        require_finite_loss(torch.as_tensor(total), step.epoch, step.iteration, self.last)
        if last or wanted or step.iteration % READ_EVERY == READ_EVERY - 1:
            self.checks.read()
        if self.schedule.clip_norm is not None:
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.schedule.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.defense.end_update(self.model)
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return bool(wanted)

    def _add_gradient(self, batch: Batch, step: Step) -> None:
        """Add a batch's gradient, in parts where memory does not take it whole."""
        begun = any(p.grad is not None for p in self.model.parameters())
        while True:
            meter = dataclasses.replace(self.meter)
            try:
                for index in torch.arange(len(batch), device=batch.inputs.device).split(self.micro):
                    part = batch if len(index) == len(batch) else batch.select(index)
                    with self.fabric.autocast():
                        loss, logs = self.defense.objective(self.model, part, self.attacks, step)
                    self.fabric.backward(loss * (len(part) / len(batch) / self.schedule.accumulate))
                    meter.add(loss.detach() * len(part), logs.get("correct"), len(part), logs["passes"], logs)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                # Gradients of earlier batches cannot be told from a part's own; a single clip cannot be halved.
                if not out_of_memory(error) or begun or not self.placement.retries or min(self.micro, len(batch)) == 1:
                    raise
                self.micro = max(1, min(self.micro, len(batch)) // 2)
                log.warning("memory ran out: training goes on with %d clips of a batch at once", self.micro)
                self.optimizer.zero_grad(set_to_none=True)
                continue
            self.meter = meter
            return

    def _end_epoch(self, train_set: Clips, val_set: Clips, epoch: int, length: int, speed: float) -> None:
        step = Step(epoch, self.schedule.epochs, length - 1, length, self.seed)
        self.meter = self.meter.together(self.processes)
        self._share_buffers()
        self.total_passes += float(self.meter.passes)
        rate = self.optimizer.param_groups[0]["lr"]
        line = {"epoch": epoch + 1, **self.meter.line, "total_passes": self.total_passes, "lr": rate}
        line |= {"clips_per_s": speed, **self.defense.describe(self.attacks, step)}
        if self.resumed_with:
            line["resumed_with"] = self.resumed_with
        quality = None
        if (epoch + 1) % self.schedule.validate_every == 0 or epoch + 1 == self.schedule.epochs:
            found = self._validate(train_set, val_set, step)
            line |= found.line
            quality = found.quality(self.defense.monitor)
            if isinstance(self.scheduler, ReduceLROnPlateau):
                self.scheduler.step(found.clean.mean_loss)
        part, splits = self.defense.attacked_part(self.scored), {"val": val_set, "train": train_set}
        line |= self.defense.end_epoch(
            self.attacks, step, lambda attack, name: self._score(splits[name], {"": attack}, name, part)[""].mean_loss
        )
        self.meter = Meter()
        # The line goes first: a kill between the two writes it again, and a resumed run drops lines from its epoch on.
        self.journal.write(line)
        if quality is not None:
            self.waited = 0 if quality > self.best else self.waited + 1
            if quality >= self.best:
                self.best = quality
                self._save("best", epoch + 1, 0)
        self._save("last", epoch + 1, 0)
        log.info("%s", summary_line(line, self.schedule.epochs))

    def _validate(self, train_set: Clips, val_set: Clips, step: Step) -> Watched:
        """Score the validation split in one walk, and as many training clips: the generalisation gap's other end."""
        attacks = watched(self.defense, self.attacks, step)
        found = self._score(val_set, attacks, "val")
        return Watched(**found, **self._score(train_set, {"seen": None}, "train", limit=len(val_set)))

    def _score(
        self, split: Clips, attacks: Attacks, name: str, part: nn.Module | None = None, limit: int = sys.maxsize
    ) -> dict[str, Meter]:
        """Score a split; ``part`` of the model is what the attacks see, None all of it."""
        count = math.ceil(min(len(split), limit) / self.schedule.batch_size)
        mine = range(self.processes.rank, count, self.processes.world_size)
        batches = eval_batches(split, self.schedule.batch_size, mine, workers=self.feed)
        with self.placement.gathered(self.scored):
            where, draws = self.fabric.device, (self.seed, name)
            meters = score(self.scored, batches, self.defense.task, where, attacks, draws, crafted_on=part)
        self.checks.read()
        return {key: meter.together(self.processes) for key, meter in meters.items()}

    def _share_buffers(self) -> None:
        self.processes.average_buffers(self.model)
        if self.average is not None:
            self.processes.average_buffers(self.average.module)

    def _save(self, name: str, epoch: int, batch: int) -> None:
        self._share_buffers()
        state = saved(self, epoch, batch)
        if self.processes.main:
            checkpoint.save(self.run_dir / "checkpoints" / f"{name}.pt", state)

    def _resume(self) -> None:
        if self.last.is_file():
            restore(self, checkpoint.load(self.last))
            log.info("resuming at epoch %d, batch %d", self.start_epoch + 1, self.start_batch + 1)
        self.journal.rewind(self.start_epoch)

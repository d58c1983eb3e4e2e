"""One evaluation of a model on a split: whoever asks for it, the command line or Python, it is this one."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from advvid.core.batch import Batch
from advvid.core.identity import Identity
from advvid.core.profiling import Profile
from advvid.data.content import Contents
from advvid.data.loader import Clips, eval_batches
from advvid.data.prefetch import prefetch
from advvid.distributed.micro_batches import micro_batch
from advvid.distributed.parallel import Processes
from advvid.evaluation.check_rules import Check
from advvid.evaluation.checks import model_checks
from advvid.evaluation.columns import Column
from advvid.evaluation.evaluator import Evaluator
from advvid.evaluation.fitting import fit_columns
from advvid.evaluation.postprocess import Postprocessing
from advvid.evaluation.results import assemble, with_provenance
from advvid.evaluation.robustness import RobustnessTable
from advvid.evaluation.sizes import at_size, distinct, members
from advvid.tasks.base import Task
from advvid.visuals.sheets import Sheets


@dataclass(kw_only=True)
class Scoring:
    """What is asked of an evaluation besides the model.

    Args:
        task: what a right answer is.
        columns: of the table, in order.
        split: the clips.
        learning: gives the clips on which attacks that learn do so.
        classes: their names, for pictures.
        seed: of all random numbers.
        device: where to compute.
        run_dir: where everything goes that is computed.
        batch_size: clips at a time.
        workers: loader processes.
        micro: clips attacked at once; None finds what memory takes.
        pictures: clips on each contact sheet; 0 for none.
        films: draw a short GIF of each column's first clip as well.
        postprocess: behind what the same adversarial clips are scored again.
        types: columns whose mean is the accuracy of a type of attack, by the type's name.
        config: of the run, as plain values.
        identity: of that configuration.
        missing: ids of clips that could not be read.
        processes: that share the work.
        search: the context that attacks run in, such as autocast.
        profile: write where the time goes.
    """

    task: Task
    columns: Sequence[Column]
    split: Clips
    learning: Callable[[], Clips]
    classes: Sequence[str]
    seed: int
    device: torch.device
    run_dir: Path
    batch_size: int = 50
    workers: int | str = 0
    micro: int | None = None
    pictures: int = 0
    films: bool = False
    postprocess: Sequence[Postprocessing] = ()
    types: Mapping[str, Sequence[str]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    identity: Identity = field(default_factory=lambda: Identity({}))
    missing: Sequence[str] = ()
    processes: Processes = field(default_factory=Processes)
    search: Callable[[], AbstractContextManager[Any]] = nullcontext
    profile: bool = False

    def __post_init__(self) -> None:
        self.sheets = Sheets(self.run_dir, self.classes, self.pictures, self.task, self.films)

    def fitted(self, model: nn.Module) -> list[Column]:
        """Return the columns, those that learn fitted: by the first process, read by the others."""
        if not self.processes.main:
            self.processes.barrier()
        columns = fit_columns(
            self.columns,
            model,
            lambda: eval_batches(self.learning(), self.batch_size, workers=self.workers),
            lambda: Contents.of(self.learning()),
            self.task,
            self.seed,
            self.run_dir,
        )
        if self.processes.main:
            self.processes.barrier()
        return columns

    def table(self, model: nn.Module, checks: Sequence[Check] = ()) -> RobustnessTable | None:
        """Score a model and return its table; None in all processes but the first.

        Args:
            model: maps clips to the task's output; on the device, in evaluation mode.
            checks: what is known before, told with those that are made here.

        Raises:
            AdvvidError: if an attack leaves its threat set or changes the model, or outputs are not finite.
        """
        first = next(iter(eval_batches(self.split, self.batch_size))).to(self.device)
        found = [*model_checks(model.eval(), first.inputs, first.target, self.task, first.ids), *checks]
        shape = tuple(first.inputs.shape[1:])
        every = self.fitted(model)
        columns, same = distinct(every, shape)
        evaluator = Evaluator(
            model=model,
            task=self.task,
            columns=columns,
            seed=self.seed,
            device=self.device,
            run_dir=self.run_dir,
            show=self.sheets.add if self.pictures else None,
            postprocess=self.postprocess,
            processes=self.processes,
            micro=self._micro(model, first) or sys.maxsize,
            search=self.search,
            settings=self.identity.around_cells.plain(),
        )
        samples = evaluator.run(self._batches, Contents.of(self.split), self.batch_size)
        if not self.processes.main:
            return None
        types = members(self.types, same)
        table = assemble(samples, evaluator, torch.as_tensor(self.split.targets), found, types)
        return dataclasses.replace(
            with_provenance(at_size(table, every, same, shape), evaluator, self.identity),
            config=dict(self.config),
            seed=self.seed,
            missing=tuple(self.missing),
            read_by=getattr(self.split, "read_by", dict)(),
        )

    def _micro(self, model: nn.Module, first: Batch) -> int | None:
        clip, size, count = first.inputs[:1], self.batch_size, self.processes.world_size
        return micro_batch(model, clip, size, self.micro, "the attack", count)

    def _batches(self, numbers: Sequence[int]) -> Iterator[Batch]:
        profile = Profile(
            self.run_dir / "profile", "evaluation", self.profile and self.processes.main, skip=0, record=1
        )
        batches = eval_batches(self.split, self.batch_size, numbers, workers=self.workers)
        return profile.over(prefetch(batches, self.device))

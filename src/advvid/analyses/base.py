"""What every analysis of a trained model has in common: what it is given, what it gives back, and where that goes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from rich.console import Console, RenderableType
from torch import device as Device
from torch import nn

from advvid.attacks.base import Attack
from advvid.core import files
from advvid.core.allowed import check_fields
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.finite import FiniteWatch, require_finite
from advvid.core.identity import Identity, versions
from advvid.data.content import Contents
from advvid.data.loader import Clips, eval_batches
from advvid.evaluation.behaviour import require_evaluation_mode
from advvid.evaluation.columns import Column
from advvid.evaluation.evaluator import Evaluator
from advvid.evaluation.results import commit
from advvid.evaluation.results import versions as package_versions
from advvid.tasks.base import Task
from advvid.tracking.trackers import Tracker

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an analysis looks at. A plain holder: an analysis takes from it what it needs.

    Args:
        name: of the analysis, which names its files: the YAML's stem.
        model: the run's model, defense included, on ``device`` in evaluation mode.
        source: the checkpoint file that its weights came from.
        task: what a right answer is.
        split: the clips.
        learning: the validation clips, for what has to learn first.
        classes: their names.
        clip_shape: ``(3, T, H, W)`` of one view.
        views: clips per video, laid one after the other in time.
        attack: the run's attack.
        attack_name: as its column in the table is called, which its random numbers depend on.
        seed: of all random numbers.
        device: where to compute.
        run_dir: the present run's folder.
        batch_size: clips at a time; no result depends on it.
        workers: loader processes.
        config: the run's configuration as plain values.
        missing: ids of clips that could not be read.
        watch: notes outputs that are not finite, of every model that the analysis uses.
    """

    name: str
    model: nn.Module
    source: Path
    task: Task
    split: Clips
    learning: Clips
    classes: Sequence[str]
    clip_shape: tuple[int, ...]
    views: int
    attack: Attack
    attack_name: str
    seed: int
    device: Device
    run_dir: Path
    batch_size: int
    workers: int | str = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    missing: Sequence[str] = ()
    watch: FiniteWatch = field(default_factory=FiniteWatch, repr=False)

    @cached_property
    def clips(self) -> Contents:
        """Names and digests of the clips of the split."""
        return Contents.of(self.split)

    @cached_property
    def learning_clips(self) -> Contents:
        """Names and digests of the clips of ``learning``."""
        return Contents.of(self.learning)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What every number of the analysis rests on besides clips, models, attacks and the seed."""
        chosen = Identity.of(self.config).around_cells.plain() if self.config else {}
        return {**chosen, "versions": versions(), "task": repr(self.task)}

    @property
    def folder(self) -> Path:
        """Where results and pictures go."""
        return self.run_dir / "analysis"

    @property
    def cells(self) -> Path:
        """Where an analysis keeps what a kill must not lose."""
        return self.folder / f"{self.name}.cells"

    def evaluator(
        self, model: nn.Module, columns: Sequence[Column], folder: Path, task: Task | None = None
    ) -> Evaluator:
        """Return what scores a model under columns on the clips of the split, with its cells in a folder."""
        return Evaluator(
            model=model,
            task=task or self.task,
            columns=columns,
            seed=self.seed,
            device=self.device,
            run_dir=folder,
            settings=self.settings,
        )

    def batches(self, numbers: Sequence[int] | None = None) -> Iterator[Batch]:
        """Yield the batches of the split with these numbers (None: all), as float clips in [0, 1] on the device."""
        for batch in eval_batches(self.split, self.batch_size, numbers, workers=self.workers):
            here = batch.to(self.device)
            yield here
            self.require_finite(here)

    def require_finite(self, batch: Batch) -> None:
        """Refuse to go on where a model put out NaN or infinity since the analysis began; one synchronisation a batch.

        Raises:
            AdvvidError: naming the clip, or the batch where only an attacked clip has such an output.
        """
        if not self.watch.saw():
            return
        with torch.no_grad():
            require_finite(self.model(batch.inputs), batch.ids, "the clean clips")
        raise AdvvidError(
            f"a model's output became NaN or infinite during analysis={self.name}, in the batch from clip {batch.ids[0]} to "
            f"clip {batch.ids[-1]}: its figures are discarded; look for a division by zero or an overflow in the model"
        )

    def learning_batches(self) -> Iterator[Batch]:
        """Yield the batches of ``learning``."""
        for batch in eval_batches(self.learning, self.batch_size, workers=self.workers):
            yield batch.to(self.device)


class Analysis(ABC):
    """A question about a trained model. Holds settings only, never a model.

    ``run`` computes; ``draw`` and ``table`` show its result and need nothing else, so that they work on a JSON file of
    an earlier run as well. ``judges`` says whether it asks what is right or wrong, which predicted frames never are.
    """

    judges: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)

    @abstractmethod
    def run(self, context: Context) -> dict[str, Any]:
        """Compute the result: plain values that fit into JSON."""

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Write the figures ``<folder>/<name>*`` of a result and return the PNG files."""
        return []

    def table(self, result: Mapping[str, Any]) -> RenderableType | None:
        """Return what the terminal shows of a result."""
        return None


def carry_out(analysis: Analysis, context: Context, tracker: Tracker) -> dict[str, Any]:
    """Run an analysis, write ``analysis/<name>.json`` and its figures, and show the table.

    Returns:
        The content of the JSON file.

    Raises:
        AdvvidError: for what the analysis refuses, and after all is written where one of its own checks is raised.
    """
    if context.config.get("postprocess"):
        raise AdvvidError("postprocess=... is a matter of the table: leave it out, or leave out analysis=...")
    require_evaluation_mode(context.model)
    context.watch.follow(context.model)
    found = analysis.run(context)
    if context.watch.saw():
        raise AdvvidError(
            f"a model's output became NaN or infinite during analysis={context.name}: its figures are discarded; look for a "
            "division by zero or an overflow in the model"
        )
    result = {
        "schema": SCHEMA,
        "analysis": context.name,
        **found,
        "missing": list(context.missing),
        "config": dict(context.config),
        "seed": context.seed,
        "commit": commit(),
        "versions": package_versions(),
    }
    target = context.folder / f"{context.name}.json"
    files.write_json(target, result)
    for picture in analysis.draw(result, context.folder, context.name):
        tracker.image(f"analysis/{picture.stem}", picture)
    layout = analysis.table(result)
    if layout is not None:
        Console().print(layout)
    for check in found.get("checks", ()):
        if check["raised"]:
            raise AdvvidError(f"{check['message']}: {check['means']}; {check['remedy']}")
    return result

"""Attacks that learn first: fitted once on validation clips, kept in the run folder, then scored as any other."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from advvid.attacks.fitted import FittedAttack, Learner
from advvid.core import digests, files
from advvid.core.batch import Batch, clip_generators, derive_seed
from advvid.core.errors import AdvvidError
from advvid.core.finite import FiniteWatch, require_finite, require_finite_state, watching
from advvid.core.identity import of_attack, versions
from advvid.core.progress import Bar, bar
from advvid.data.content import Contents
from advvid.evaluation.columns import Column
from advvid.evaluation.untouched import left_alone
from advvid.tasks.base import Task

log = logging.getLogger(__name__)


class _WatchedBatches:
    """Batches that can be walked again and again, each counted on a bar."""

    def __init__(
        self, batches: Callable[[], Iterable[Batch]], progress: Bar, name: str, model: nn.Module, watch: FiniteWatch
    ) -> None:
        self.batches, self.progress, self.name, self.model, self.watch = batches, progress, name, model, watch
        self.last: Batch | None = None

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches():
            self.last = batch
            yield batch
            self.check()
            self.progress.advance(len(batch))

    def check(self) -> None:
        """Refuse a model whose output was not finite on the last batch, after looking for a clip that has it unchanged.

        Raises:
            AdvvidError: naming the clip, or the batch.
        """
        if self.last is None or not self.watch.saw():
            return
        batch, device = self.last, _device(self.model)
        with torch.no_grad():
            require_finite(self.model(batch.to(device).inputs), batch.ids, f"those that column {self.name} learns on")
        raise AdvvidError(
            f"the model's output became NaN or infinite while column {self.name} learned on the batch from clip "
            f"{batch.ids[0]} to clip {batch.ids[-1]}: look for a division by zero or an overflow in the model"
        )


def fit_columns(
    columns: Sequence[Column],
    model: nn.Module,
    batches: Callable[[], Iterable[Batch]],
    clips: Callable[[], Contents],
    task: Task,
    seed: int,
    run_dir: Path,
) -> list[Column]:
    """Return the columns with every attack that learns in its fitted form.

    What was learned lies in ``attacks/<column>.pt`` under a key of the model, the attack, the seed, the task, the package
    versions and the content of the clips, and is taken from there where the key is the same.

    Args:
        columns: of the table.
        model: in evaluation mode.
        batches: gives the batches of the validation split, each time it is called.
        clips: gives names and digests of the clips of that split; asked where an attack learns, since files are read for it.
        task: what a right answer is.
        seed: of the learning.
        run_dir: the run folder.

    Raises:
        AdvvidError: if an attack has to learn and there is no clip to learn from.
    """
    return [
        _fitted(c, c.seen or model, batches, clips(), task, seed, run_dir)
        if isinstance(c.attack, Learner) and getattr(c.attack, "checkpoint", None) is None
        else c
        for c in columns
    ]


def _fitted(
    column: Column,
    model: nn.Module,
    batches: Callable[[], Iterable[Batch]],
    clips: Contents,
    task: Task,
    seed: int,
    run_dir: Path,
) -> Column:
    attack = column.attack
    assert isinstance(attack, Learner)
    if not len(clips):
        raise AdvvidError(
            f"the attack of column {column.name} learns on the validation split, which is empty: raise dataset.limit_val, or "
            "leave the column out"
        )
    made = (digests.of_module(model), of_attack(attack), repr(task), clips.digest, versions())
    key = derive_seed("fit", *made, seed)
    path = run_dir / "attacks" / f"{column.name}.pt"
    saved = torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else {}
    if saved.get("key") == key:
        # Fitting nothing gives the right kind of object, which then takes over what was learned.
        require_finite_state(saved["state"], path)
        return dataclasses.replace(column, attack=_restored(attack, saved["state"]))
    steps = int(getattr(attack, "steps", 1))
    per_walk = next(iter(batches()))
    log.info("column %s learns on %d validation clips", column.name, len(clips))
    with (
        bar(f"fit {column.name}", steps * len(per_walk)) as progress,
        left_alone([model], attack, per_walk.to(_device(model)).inputs[:1], column.name),
        watching(model) as watch,
    ):
        walk = _WatchedBatches(batches, progress, column.name, model, watch)
        fitted = attack.fit(model, walk, torch.Generator().manual_seed(key), task)
        walk.check()
    if _fools_nothing(fitted, model, batches(), task, key):
        log.warning(
            "the attack of column %s learned on %d clips and fools none of them: raise its steps (now %d) or its budget",
            column.name,
            len(clips),
            steps,
        )
    require_finite_state(fitted.state_dict(), f"what column {column.name} learned")
    files.write_tensors(path, {"key": key, "state": fitted.state_dict()})
    return dataclasses.replace(column, attack=fitted)


def _fools_nothing(attack: FittedAttack, model: nn.Module, batches: Iterable[Batch], task: Task, seed: int) -> bool:
    """Tell whether no clip that the model has right is wrong under the attack; looks no further than the first one."""
    judged = False
    with torch.no_grad():
        for batch in batches:
            batch = batch.to(_device(model))
            right = task.correct(model(batch.inputs), batch.target)
            if right is None:
                return False
            generators = clip_generators(seed, "learned", batch.ids)
            still = task.correct(model(attack(model, batch.inputs, batch.target, generators)), batch.target)
            if still is not None and bool((right & ~still).any()):
                return False
            judged = judged or bool(right.any())
    return judged


def _restored(attack: Learner, state: dict[str, torch.Tensor]) -> FittedAttack:
    fitted = attack.unfitted()
    fitted.load_state_dict(state)
    return fitted


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))

"""Faults of data sets, tasks, training and tables."""

# ruff: noqa: E501  (one fault a line, as a table)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tests.faults.fault import CPU, Fault, Setup
from torch import Tensor

from advvid.attacks.pgd import PGD
from advvid.core.batch import Batch
from advvid.data.checked import check_split
from advvid.data.loader import eval_batches
from advvid.evaluation.checks import table_checks
from advvid.evaluation.columns import Column
from advvid.evaluation.scores import Score
from advvid.evaluation.worth import above_chance, level_columns, small_validation
from advvid.metrics.statistics import wilson
from advvid.tasks.classification import Classification
from advvid.training.validation import score


class Split:
    """A sound split, whose parts a fault replaces.

    Args:
        setup: whose clips these are.
        wrong: ``ids``, ``targets``, or ``item``, which changes what is read.
    """

    def __init__(self, setup: Setup, wrong: dict[str, Any]) -> None:
        self.clips = (setup.clips * 255).to(torch.uint8)
        self.ids = wrong.get("ids", list(setup.ids))
        self.targets = wrong.get("targets", setup.labels.tolist())
        self.item: Callable[[int, Tensor, int, str], Any] = wrong.get("item", lambda i, *item: item)
        self.read = list(zip(self.clips, setup.labels.tolist(), setup.ids, strict=True))

    def __len__(self) -> int:
        return len(self.read) if len(self.ids) else 0

    def __getitem__(self, index: int) -> Any:
        return self.item(index, *self.read[index])


def split(**wrong: Any) -> Callable[[Setup], list[str]]:
    """Return a plant: a split with a fault, checked, read and evaluated as a run does."""

    def plant(setup: Setup) -> list[str]:
        made = {k: v(setup) if k != "item" else v for k, v in wrong.items()}
        data = Split(setup, made)
        check_split(data, "test", [f"class{i}" for i in range(4)], Classification())
        batches = [batch.to(CPU) for batch in eval_batches(data, 4)]
        setup.clips = torch.cat([batch.inputs for batch in batches])
        return setup.evaluate()

    return plant


def _first(change: Callable[[Tensor, int, str], Any]) -> Callable[..., Any]:
    return lambda i, clip, label, name: change(clip, label, name) if i == 0 else (clip, label, name)


def _every(change: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    return lambda i, clip, label, name: (change(clip), label, name)


def _twice(setup: Setup) -> list[str]:
    setup.ids[1] = setup.ids[0]
    return setup.evaluate()


def _wrong_label(setup: Setup) -> list[str]:
    setup.labels[0] = (setup.labels[0] + 1) % 4
    return setup.evaluate()


class OneLoss(Classification):
    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        return super().loss(out, target).mean()


class NoLoss(Classification):
    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        return super().loss(out, target) * float("nan")


class Numbers(Classification):
    def correct(self, out: Tensor, target: Tensor) -> Tensor:
        return super().correct(out, target).long()


class Generous(Classification):
    """Calls any of the two best answers right, and writes down the best."""

    def correct(self, out: Tensor, target: Tensor) -> Tensor:
        return (out.topk(2, dim=1).indices == target[:, None]).any(dim=1)

    def margin(self, out: Tensor, target: Tensor) -> None:  # type: ignore[override]
        return None


class Reversed(Classification):
    def margin(self, out: Tensor, target: Tensor) -> Tensor:
        return -super().margin(out, target)


def task(made: Any) -> Callable[[Setup], list[str]]:
    """Return a plant: an evaluation for another task."""
    return lambda setup: setup.evaluate(PGD(eps="60/255", steps=4), task=made)


def _validation(setup: Setup) -> list[str]:
    setup.clips[3] = 0.0

    class Dark(torch.nn.Module):
        def forward(self, clips: Tensor) -> Tensor:
            return setup.model(clips) / clips.flatten(1).amax(dim=1, keepdim=True)

    score(Dark(), [Batch(setup.clips, setup.labels, setup.ids)], Classification(), CPU, {"clean": None})
    return []


def _chance(setup: Setup) -> list[str]:
    right = torch.arange(100) < 46
    check = above_chance(right.numpy(), [i % 2 for i in range(100)])
    return [f"{check.message}: {check.means}"] if check.raised else []


def _small(setup: Setup) -> list[str]:
    return [f"{check.message}: {check.means}" for check in small_validation(["the checkpoint"], 20) if check.raised]


def _level(right: int) -> Callable[[Setup], list[str]]:
    row = Score(right / 50, wilson(right, 50))
    return lambda setup: list(level_columns({"pgd": [row, row]}))


def _compared(*columns: tuple[PGD, float]) -> Callable[[Setup], list[str]]:
    def plant(setup: Setup) -> list[str]:
        named = [Column(f"column{i}", attack) for i, (attack, _) in enumerate(columns)]
        right = {f"column{i}": (torch.arange(100) < 100 * share).numpy() for i, (_, share) in enumerate(columns)}
        checks = table_checks(named, {"clean": (torch.arange(100) < 100).numpy(), **right}, 10)
        return [f"{check.message}: {check.means}" for check in checks if check.raised]

    return plant


FAULTS = [
    Fault("an id stands twice", "data", split(ids=lambda w: ["clip0", *w.ids[:-1]]), "the id clip0 stands twice in the test split"),
    Fault("an id is empty", "data", split(ids=lambda w: ["", *w.ids[1:]]), "a clip's id is a text"),
    Fault("there are fewer ids than clips", "data", split(ids=lambda w: w.ids[1:]), "8 clips but 7 ids"),
    Fault("there are fewer labels than clips", "data", split(targets=lambda w: w.labels.tolist()[1:]), "8 clips but 7 labels"),
    Fault("the split is empty", "data", split(ids=lambda w: [], targets=lambda w: []), "the test split has no clip"),
    Fault("a label is beyond the classes", "data", split(targets=lambda w: [4, *w.labels.tolist()[1:]]), "has the label 4, but the data set has 4 classes"),
    Fault("a label is negative", "data", split(targets=lambda w: [-1, *w.labels.tolist()[1:]]), "has the label -1"),
    Fault("a clip changes its id between reads", "data", split(item=_first(lambda c, y, n: (c, y, "other"))), "was listed as clip0 but read as other"),
    Fault("a clip changes its label between reads", "data", split(item=_first(lambda c, y, n: (c, (y + 1) % 4, n))), "was listed with the label"),
    Fault("clips lie outside [0, 1]", "data", split(item=_every(lambda c: c.float() / 100)), "clips must lie in [0, 1]"),
    Fault("a clip holds NaN", "data", split(item=_every(lambda c: c.float() / c.float().amin())), "holds NaN or infinity as it was read"),
    Fault("clips are whole numbers of 64 bits", "data", split(item=_every(lambda c: c.long())), "was read as int64"),
    Fault("a clip has fewer frames than the others", "data", split(item=_first(lambda c, y, n: (c[:, 1:], y, n))), "clips of a split have one shape and type"),
    Fault("a clip is scored twice", "data", _twice, "is scored twice"),
    Fault("a label is wrong", "data", _wrong_label, why_not="a label is the truth that everything is measured by; a share of wrong ones lowers clean accuracy, and the check chance is raised when nothing is left"),
    Fault("its loss is one number for a batch", "task", task(OneLoss()), "OneLoss.loss returns the shape"),
    Fault("its loss is NaN", "task", task(NoLoss()), "NoLoss.loss is NaN on clip clip0"),
    Fault("its verdicts are numbers", "task", task(Numbers()), "Numbers.correct returns"),
    Fault("its verdict is another one than its prediction", "task", task(Generous()), "Task.correct, predict and label have to agree"),
    Fault("its margin has the wrong sign", "task", task(Reversed()), "Reversed.margin contradicts"),
    Fault("validation meets a clip without an answer", "training", _validation, "output is infinite on clip clip3"),
    Fault("clean accuracy is 46% of two classes", "table", _chance, "nothing says that the model has learned"),
    Fault("a checkpoint is chosen by 20 clips", "table", _small, "a draw of lots"),
    Fault("all rows of a column are at the floor", "table", _level(0), "at the floor"),
    Fault("all rows of a column are at the ceiling", "table", _level(50), "at the ceiling"),
    Fault("more steps are weaker", "table", _compared((PGD(steps=5), 0.2), (PGD(steps=10), 0.6)), "more steps make the attack weaker"),
    Fault("a larger budget is weaker", "table", _compared((PGD(eps="4/255"), 0.2), (PGD(eps="8/255"), 0.6)), "a larger budget makes the attack weaker"),
    Fault("an attack without limits leaves more than chance", "table", _compared((PGD(eps=1.0), 0.6)), "must reach chance or below"),
]  # fmt: skip

"""What a planted fault is, and the small run that it is planted in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advvid.attacks.pgd import PGD
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.data.content import Contents
from advvid.evaluation.checks import model_checks
from advvid.evaluation.columns import Column
from advvid.evaluation.evaluator import Evaluator
from advvid.evaluation.results import assemble
from advvid.tasks.classification import Classification

CPU = torch.device("cpu")
CLASSES = 4


class Small(nn.Module):
    """A 3-D network with BatchNorm, which answers within a millisecond."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(3, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.AdaptiveAvgPool3d(2), nn.Flatten()
        )
        self.head = nn.Linear(48, CLASSES)
        nn.init.normal_(self.head.weight, std=3.0)

    def forward(self, clips: Tensor) -> Tensor:
        return self.head(self.body(clips))


@dataclass
class Setup:
    """A model, clips that it gets right, and an evaluation of both as a run makes it.

    Args:
        folder: an empty folder.
    """

    folder: Path
    model: nn.Module = field(init=False)
    clips: Tensor = field(init=False)
    labels: Tensor = field(init=False)
    ids: list[str] = field(init=False)

    def __post_init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = Small().eval()
        self.clips = torch.rand(8, 3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            self.labels = self.model(self.clips).argmax(dim=1)
        self.ids = [f"clip{i}" for i in range(len(self.clips))]

    def evaluate(self, *attacks: Any, model: nn.Module | None = None, task: Any = None) -> list[str]:
        """Check the model, score it under attacks, and return what the table's raised checks say.

        Args:
            attacks: one column each; PGD where there is none.
            model: the sound one where None.
            task: classification where None.
        """
        task = task or Classification()
        model = (model or self.model).eval()
        columns = [Column(f"column{i}", attack) for i, attack in enumerate(attacks or (PGD(eps="4/255", steps=2),))]
        checks = model_checks(model, self.clips[:4], self.labels[:4], task, self.ids[:4])
        evaluator = Evaluator(model=model, task=task, columns=columns, seed=0, device=CPU, run_dir=self.folder)

        def batches(numbers: Sequence[int]) -> Any:
            for i in (4 * number for number in numbers):
                yield Batch(self.clips[i : i + 4], self.labels[i : i + 4], self.ids[i : i + 4])

        samples = evaluator.run(batches, Contents(self.ids, self.ids), 4)
        table = assemble(samples, evaluator, self.labels, checks)
        return [f"{check.message}: {check.means}" for check in table.raised if check.name != "chance"]


@dataclass(frozen=True)
class Fault:
    """Something that is wrong, and what a user reads of it.

    Args:
        name: what is wrong, in words.
        where: what it is planted in: attack, model, data, task, purifier, table or training.
        plant: plants it and does what a run does; returns what checks say.
        reads: a part of the sentence that a user reads; empty where the fault cannot be caught.
        why_not: why it cannot be caught; empty where it is.
    """

    name: str
    where: str
    plant: Callable[[Setup], list[str]]
    reads: str = ""
    why_not: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a fault.

    Args:
        kind: ``stops the run``, ``raised in the table`` or ``not catchable``.
        sentence: what a user reads, or why nothing can be said.
    """

    kind: str
    sentence: str


def outcome(fault: Fault) -> Outcome:
    """Plant a fault in a fresh run and return what a user reads."""
    settings = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
        try:
            said = fault.plant(Setup(Path(folder)))
        except AdvvidError as error:
            return Outcome("stops the run", str(error).replace(folder, "<run folder>"))
        finally:
            torch.set_grad_enabled(settings[0])
            torch.set_default_dtype(settings[1])
            torch.set_num_threads(settings[2])
    found = [sentence for sentence in said if fault.reads and fault.reads in sentence]
    return Outcome("raised in the table", found[0]) if found else Outcome("not catchable", fault.why_not)

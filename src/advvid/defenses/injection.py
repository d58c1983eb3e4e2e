"""Training on a mix of clean clips and adversarial examples that were made before."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, FilePath, Numeral
from advvid.core.later import Sum, numbers, wide
from advvid.core.paths import user_path
from advvid.core.schedules import Schedule
from advvid.defenses.ape_gan import GIVEN
from advvid.defenses.base import Defense, Logs, Measure, Step, single
from advvid.defenses.examples import Examples, origin_of
from advvid.defenses.none import NoDefense
from advvid.defenses.preparation import FOLDER, Preparation

ADVERSARIAL: Final = "adversarial"
NEW: Final = "new"
CLASSIFIER: Final = "classifier"


@dataclass(kw_only=True)
class Injection(Defense):
    """Injection of adversarial examples (Goodfellow et al. 2015; Mu et al., fig. 5 a, sec. 4.3, table 10).

    A classifier is trained first, unless one is given. The attack makes examples of ``ratio`` of the training videos, once,
    which are written to disk. Then a model is trained on all videos and, in the same batch as a video's own clip, on its
    example: in every epoch each example is seen once. The paper has 1000, 1500 and 3000 examples to 8000 videos, and as a
    control the same number of unmodified clips (``examples`` clean). It does not say whether training begins anew.

    Cost per clip: 1 pass and ``ratio`` more; the classifier's training and the examples' gradient calls stand in
    ``prerequisite_passes``.

    Args:
        ratio: number of examples over that of training videos, above 0 and at most 1.
        examples: ``adversarial``, or ``clean`` for the control: nothing is made then.
        folder: where the examples are, which runs on the same model, data, attack and seed may share; None for the run's
            ``prerequisites/examples``.
        start: the model begins ``new`` (or from ``model.checkpoint``), or as the ``classifier``.
        classifier: that the examples fool: None trains one on ``classifier_schedule``; a run folder or .pt file; or
            ``model``, the weights that ``model.checkpoint`` gave.
        classifier_schedule: of that training.
        batch_size: clips attacked together.

    Other arguments: see ``Defense``; the inner settings are of the attack that validation watches, the examples are made
    with the attack as it is set.

    Shape:
        see ``Defense.objective``; ``correct`` has an entry for every clip of the batch, then for every example.

    Raises:
        AdvvidError: for an impossible ratio or option.

    Example:
        >>> Injection(attacks={"deep_sava": DeepSAVA()}, ratio="1500/8000")     # doctest: +SKIP
    """

    monitor: ClassVar[str] = "robust"
    unpurified: ClassVar[str] = "trains on examples that it keeps, of a classifier of its own"

    ratio: Annotated[float | str, Numeral(), Gt(0), Le(1)] = "1000/8000"
    examples: Literal["adversarial", "clean"] = ADVERSARIAL
    folder: FilePath | None = None
    start: Literal["new", "classifier"] = NEW
    classifier: FilePath | None = None
    classifier_schedule: Schedule = field(default_factory=lambda: Schedule(epochs=20))
    batch_size: Count = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        self.made: Examples | None = None
        self.numbers: dict[str, int] = {}  # of the videos that have an example, by name
        self.prerequisite_passes = self.fooling = 0.0
        self.sums: dict[str, Sum] = {}

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Raise unless exactly one attack is configured."""
        single(attacks, "injection")

    def make_ready(self, model: nn.Module, preparation: Preparation) -> None:
        """Train or load the classifier, then make the examples or find them."""
        attack, clips = single(preparation.attacks, "injection"), preparation.train_set
        count = max(1, round(float(self.ratio) * len(clips)))
        classifier: nn.Module = model
        if self.examples == ADVERSARIAL or self.start == CLASSIFIER:
            classifier = self._classifier(model, preparation)
        folder = user_path(self.folder) if self.folder else preparation.run_dir / FOLDER / "examples"
        self.made = Examples(folder, clips, attack, preparation.seed, origin_of(classifier, clips))
        self.numbers = {clips.ids[number]: number for number in self.made.chosen(count)}
        if self.examples == ADVERSARIAL:
            calls, self.fooling = self.made.make(
                classifier, self.task, count, self.batch_size, preparation.device, preparation.processes
            )
            self.prerequisite_passes += calls
        if self.start == CLASSIFIER:
            model.load_state_dict(classifier.state_dict())

    def _classifier(self, model: nn.Module, preparation: Preparation) -> nn.Module:
        """Return the model that the examples fool; the given one stays as it is."""
        classifier = copy.deepcopy(model)
        if self.classifier is None:
            benign = NoDefense(inner_steps=self.inner_steps, inner_step_size=self.inner_step_size, task=self.task)
            self.prerequisite_passes = preparation.train("classifier", classifier, benign, self.classifier_schedule)
        elif self.classifier != GIVEN:
            preparation.load("defense.classifier", self.classifier, classifier)
        return classifier.to(preparation.device)

    def objective(
        self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step
    ) -> tuple[Tensor, Logs]:
        """Return the mean loss over the batch and the examples of its videos."""
        if self.made is None:
            raise AdvvidError("injection trains on examples made before: call make_ready(model, preparation) first")
        rows = [row for row, name in enumerate(batch.ids) if name in self.numbers]
        clips, target = batch.inputs, batch.target
        if rows:
            extra = torch.stack([self._example(batch.ids[row]) for row in rows])
            index = torch.tensor(rows).to(target.device, non_blocking=True)
            clips, target = torch.cat([clips, extra.to(clips, non_blocking=True)]), torch.cat([target, target[index]])
        out = model(clips)
        losses = self.task.loss(out, target)
        self._count("clean_loss", losses[: len(batch)])
        self._count("example_loss", losses[len(batch) :])
        logs = {"passes": torch.tensor(len(clips) / len(batch))}
        correct = self.task.correct(out.detach(), target)
        if correct is not None:
            logs["correct"] = correct
        return losses.mean(), logs

    def _example(self, name: str) -> Tensor:
        assert self.made is not None  # as the caller made sure
        number = self.numbers[name]
        if self.examples == ADVERSARIAL:
            return self.made.read(number)
        return Batch(self.made.clean(number)[0][None], torch.zeros(1), [name]).to("cpu").inputs[0]

    def _count(self, name: str, losses: Tensor) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + wide(losses.sum())
        self.sums[f"{name}/clips"] = self.sums.get(f"{name}/clips", 0.0) + len(losses)

    def end_epoch(self, attacks: Mapping[str, Attack], step: Step, measure: Measure) -> dict[str, Any]:
        """Report the epoch's mean loss on clips and on examples."""
        names = ("clean_loss", "example_loss")
        sums = [self.sums.get(key, 0.0) for name in names for key in (name, f"{name}/clips")]
        found = self.processes.sum(numbers(sums))
        self.sums = {}
        return {name: found[2 * i] / found[2 * i + 1] for i, name in enumerate(names) if found[2 * i + 1]}

    def describe(self, attacks: Mapping[str, Attack], step: Step) -> dict[str, Any]:
        """Return the examples' number and budget, how many fooled the classifier, and what came before training."""
        said: dict[str, Any] = {"examples": len(self.numbers), "prerequisite_passes": self.prerequisite_passes}
        if self.examples == ADVERSARIAL:
            said["examples_fooling"] = self.fooling
            said["budget"] = {name: attack.threat.budget for name, attack in attacks.items()}
        return said

    def state_dict(self) -> dict[str, Any]:
        """Keep the sums of an epoch that was interrupted; the examples lie on disk."""
        return {
            "sums": {name: float(total) for name, total in self.sums.items()},
            "prerequisite_passes": self.prerequisite_passes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back; the sums go on with the first process."""
        self.sums = dict(state["sums"]) if self.processes.main else {}
        self.prerequisite_passes = state["prerequisite_passes"]

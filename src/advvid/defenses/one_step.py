"""What cheap adversarial training shares: one step per batch, and a watch over catastrophic overfitting."""

from __future__ import annotations

import dataclasses
import logging
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
import torch.distributed as dist
from annotated_types import Gt, Le
from torch import Tensor

from advvid.attacks.base import Attack, AttackResult
from advvid.attacks.gradient import GradientAttack
from advvid.attacks.problem import Problem
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Numeral, Whole
from advvid.defenses.at import AT
from advvid.defenses.base import Measure, Step, single
from advvid.defenses.crafted import check_iterated
from advvid.threats.base import Threat

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class OneStep(AT):
    """Training on one-step adversarial clips, with a monitor of catastrophic overfitting.

    A model may learn to hide from one-step attacks alone: their accuracy rises while that of PGD falls to nothing
    (Wong et al. 2020, sec. 5.4). Validation therefore measures both, on the same clips and from the same random
    numbers, into ``val_one_step_acc`` and ``val_pgd_acc`` of metrics.jsonl, and a warning is logged the first time that
    the one exceeds the other by the margin. ``inner_steps`` and ``inner_step_size`` are those of the PGD of validation
    and monitor; training itself does not use them.

    Args:
        monitor_every: epochs between measurements, the last epoch always included; 0 for none.
        monitor_margin: by how much one-step accuracy may exceed PGD's before the warning.
    """

    name: ClassVar[str] = "one_step"

    monitor_every: Whole = 1
    monitor_margin: Annotated[float | str, Numeral(), Gt(0), Le(1)] = 0.2
    warned: bool = field(default=False, init=False)

    @abstractmethod
    def one_step(self, attack: Attack) -> Attack:
        """Return the one-step attack of the training, as validation measures it."""

    def additive(self, attacks: Mapping[str, Attack]) -> GradientAttack:
        """Return the one attack, as PGD of a few steps.

        Raises:
            AdvvidError: for several attacks, or one that is no gradient search with a budget eps.
        """
        attack = check_iterated(self.inner(single(attacks, self.name)), self.name)
        if not isinstance(attack, GradientAttack):
            raise AdvvidError(
                f"defense={self.name} steps in proportion to the budget eps, which {type(attack).__name__} does not have: "
                "choose an attack with eps such as pgd"
            )
        return attack

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Want one additive gradient attack."""
        self.one_step(self.additive(attacks))

    def end_epoch(self, attacks: Mapping[str, Attack], step: Step, measure: Measure) -> dict[str, Any]:
        """Measure accuracy against one step and against PGD, and warn where they part."""
        last = step.epoch + 1 == step.epochs
        if not self.monitor_every or ((step.epoch + 1) % self.monitor_every and not last):
            return {}
        pgd = self.additive(attacks)
        quick = dataclasses.replace(pgd, early_exit=True, keep="fooled")
        one, many = accuracy(self.one_step(pgd), measure), accuracy(quick, measure)
        if one is None or many is None:
            return {}
        if one - many > float(self.monitor_margin) and not self.warned:
            self.warned = True
            log.warning(
                "catastrophic overfitting: after epoch %d validation accuracy is %.3f against one step but %.3f against "
                "PGD of %d steps; train with a smaller eps, defense=n_fgsm or defense=at, or keep an earlier epoch with "
                "schedule.select=best",
                step.epoch + 1,
                one,
                many,
                pgd.steps,
            )
        return {"val_one_step_acc": one, "val_pgd_acc": many}

    def state_dict(self) -> dict[str, Any]:
        """Keep whether the warning was given."""
        return {"warned": self.warned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take that back."""
        self.warned = state["warned"]


@dataclass(frozen=True, kw_only=True)
class Counted(Attack):
    """An attack that notes which clips withstood it, for a measure that returns losses only.

    Args:
        of: the attack.
        right: receives ``bool [B]`` per batch; stays empty where the task has no right answer.
    """

    any_shape: ClassVar[bool] = True  # the attack inside asks for itself

    of: Attack
    right: list[Tensor] = field(default_factory=list)

    @property
    def threat(self) -> Threat:
        """The attack's own."""
        return self.of.threat

    def _search(self, problem: Problem) -> AttackResult:
        model, task = problem.model, problem.task
        result = self.of.run(model, problem.clips, problem.labels, problem.generators, problem.targets, task)
        with torch.no_grad():
            correct = task.correct(model(result.x_adv), problem.labels)
        if correct is not None:
            self.right.append(correct)
        return result


def accuracy(attack: Attack, measure: Measure) -> float | None:
    """Return the share of validation clips that withstand an attack, or None where there is no right answer."""
    counted = Counted(of=attack, space=attack.space)
    measure(counted, "val")
    shares = [(sum(int(batch.sum()) for batch in counted.right), sum(len(batch) for batch in counted.right))]
    if dist.is_available() and dist.is_initialized():  # every process measured a part of the split
        own, shares = shares[0], [(0, 0)] * dist.get_world_size()
        dist.all_gather_object(shares, own)
    right, judged = (sum(numbers) for numbers in zip(*shares, strict=True))
    return right / judged if judged else None

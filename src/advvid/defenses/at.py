"""Adversarial training with one attack and one budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.batch import Batch
from advvid.defenses.base import Defense, Logs, Step, single


@dataclass(kw_only=True)
class AT(Defense):
    """AT (Madry et al. 2018; Kinfu & Vidal, eq. 5 and table 1): minimise the loss on attacked clips.

    The attack and its budget are the run's ``attack``; ``inner_steps`` and ``inner_step_size`` set the search. The
    table's three rows at eps 8 are ``inner_step_size`` ``optimal``, ``optimal/2`` and ``eps``.
    """

    monitor: ClassVar[str] = "robust"

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Want exactly one attack."""
        single(attacks, "at")

    def objective(
        self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step
    ) -> tuple[Tensor, Logs]:
        """Return the loss on clips attacked by the step's inner attack (eq. 5)."""
        return self.fit_attacked(model, batch, self.chosen(attacks, step), step)

    def chosen(self, attacks: Mapping[str, Attack], step: Step) -> Attack:
        """Return the inner attack of a step; subclasses choose among budgets or types."""
        return self.inner(single(attacks, "at"))

    def fit_attacked(self, model: nn.Module, batch: Batch, attack: Attack, step: Step) -> tuple[Tensor, Logs]:
        """Craft with this attack as it stands and return the loss on the result; budget 0 means clean clips."""
        if getattr(attack, "eps", 1) == 0:
            return self.fit_to(model, batch.inputs, batch.target, 1)
        result = self.craft(model, batch, attack, step)
        loss, logs = self.fit_to(model, result.x_adv, batch.target, 1)
        logs["passes"] = result.gradient_calls.float().mean() + 1
        return loss, logs

    def describe(self, attacks: Mapping[str, Attack], step: Step) -> dict[str, Any]:
        """Return the attack's budget in words."""
        return {"budget": {name: attack.threat.budget for name, attack in attacks.items()}}

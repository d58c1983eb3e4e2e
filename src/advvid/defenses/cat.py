"""Curriculum adversarial training: a budget that rises, or falls, as training proceeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

from advvid.attacks.base import Attack
from advvid.core.kinds import NotNegativeNumber
from advvid.defenses.at import AT
from advvid.defenses.base import Step, check_epsilon, single


@dataclass(kw_only=True)
class CAT(AT):
    """CAT (Kinfu & Vidal, sec. 4.2 and table 2): the budget moves linearly from ``eps_from`` to ``eps_to``.

    Args:
        eps_from: budget at the start; ``12/255`` with ``eps_to: 0`` is the paper's falling curriculum.
        eps_to: budget at the end.
        unit: the budget changes every ``epoch`` or every ``iteration``.
        hold: last part of training, in [0, 1), that stays at ``eps_to``. The paper does not say where its rise ends.
        scale_steps: spend ``ceil(inner_steps * eps / max eps)`` inner steps, so that small budgets cost less. The
            paper does not say how many steps a small budget gets; false gives ``inner_steps`` always.
    """

    eps_from: NotNegativeNumber = 0.0
    eps_to: NotNegativeNumber = "12/255"
    unit: Literal["epoch", "iteration"] = "epoch"
    hold: Annotated[float, Ge(0), Lt(1)] = 0.0
    scale_steps: bool = True

    @property
    def paced(self) -> bool:
        """Yes: the budget moves over the whole of training."""
        return True

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Want one attack that has a budget eps, and that both ends of the curriculum are possible for it."""
        super().check(attacks, epochs)
        attack = single(attacks, "cat")
        check_epsilon(attack, "cat")
        for eps in (self.eps_from, self.eps_to):
            self.inner(attack, float(eps))

    def budget(self, step: Step) -> float:
        """Return the budget in force at a step, in [0, 1]."""
        done, last = step.epoch, step.epochs - 1
        if self.unit == "iteration":
            done = step.epoch * step.iterations + step.iteration
            last = step.epochs * step.iterations - 1
        rise = last * (1 - self.hold)
        part = min(1.0, done / rise) if rise > 0 else 1.0
        return float(self.eps_from) + (float(self.eps_to) - float(self.eps_from)) * part

    def inner_at(self, attack: Attack, step: Step) -> Attack:
        """Return the inner attack of this step."""
        eps = self.budget(step)
        largest = max(float(self.eps_from), float(self.eps_to))
        steps = self.steps_of(attack)
        if self.scale_steps and largest > 0:
            steps = max(1, math.ceil(steps * eps / largest - 1e-9))
        return dataclasses.replace(self, inner_steps=steps).inner(attack, eps)

    def chosen(self, attacks: Mapping[str, Attack], step: Step) -> Attack:
        """Return the inner attack at the present budget."""
        return self.inner_at(single(attacks, "cat"), step)

    def moving(self, attacks: Mapping[str, Attack], step: Step) -> Attack:
        """Return the inner attack at the present budget, which the generalisation gap is about (Kinfu & Vidal, figure 4)."""
        return self.chosen(attacks, step)

    def describe(self, attacks: Mapping[str, Attack], step: Step) -> dict[str, Any]:
        """Return the present budget in words and as a number."""
        return {
            "budget": {name: self.inner_at(attack, step).threat.budget for name, attack in attacks.items()},
            "eps": self.budget(step),
        }

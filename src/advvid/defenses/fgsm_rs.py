"""Fast adversarial training: one signed step from a random start."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from advvid.attacks.base import Attack
from advvid.attacks.gradient import GradientAttack
from advvid.core.batch import Batch
from advvid.core.kinds import PositiveNumber
from advvid.defenses.base import Step
from advvid.defenses.crafted import Crafted
from advvid.defenses.one_step import OneStep


@dataclass(kw_only=True)
class FGSMRS(OneStep):
    """Fast AT (Wong et al. 2020, algorithm 3): a uniform start in the set, one step of 1.25 eps, projected.

    Set and eps are the attack's. Cost per clip: 2 passes; with budget 0 it is plain training.

    Args:
        step_factor: step size over eps. Other arguments: see ``OneStep``.

    Example:
        >>> FGSMRS().objective(model, batch, {"pgd": PGD(eps="8/255")}, step)     # doctest: +SKIP
    """

    name: ClassVar[str] = "fgsm_rs"

    step_factor: PositiveNumber = 1.25

    def one_step(self, attack: Attack) -> Attack:
        """Return the attack with a random start and one step."""
        assert isinstance(attack, GradientAttack)  # as additive() made sure
        size = float(self.step_factor) * attack.radius
        return dataclasses.replace(attack, steps=1, random_start=True, step_size=size)

    def prepare(self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step) -> Crafted:
        """Take the step."""
        return self.attacked(model, batch, self.one_step(self.additive(attacks)), step)

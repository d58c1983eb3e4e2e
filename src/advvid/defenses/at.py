"""Adversarial training: make the clips to train on, then take a loss on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack, frozen
from advvid.core.batch import Batch
from advvid.defenses.base import Defense, Logs, Step, single
from advvid.defenses.crafted import Crafted, clean
from advvid.models.modes import mode


@dataclass(kw_only=True)
class AT(Defense):
    """AT (Madry et al. 2018; Kinfu & Vidal, eq. 5 and table 1): minimise the loss on attacked clips.

    The attack and its budget are the run's ``attack``; ``inner_steps`` and ``inner_step_size`` set the search. The
    table's three rows at eps 8 are ``inner_step_size`` ``optimal``, ``optimal/2`` and ``eps``.

    Every other adversarial training is this one with another ``chosen`` attack or another of its two halves,
    ``prepare`` and ``fit``, which AWP takes from outside.
    """

    monitor: ClassVar[str] = "robust"

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Raise unless exactly one attack is configured."""
        single(attacks, "at")

    def objective(
        self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step
    ) -> tuple[Tensor, Logs]:
        """Return the loss on crafted clips (eq. 5); the cost is that of both halves."""
        crafted = self.prepare(model, batch, attacks, step)
        loss, logs = self.fit(model, batch, crafted, step)
        logs["passes"] = logs["passes"] + crafted.passes
        return loss, logs

    def chosen(self, attacks: Mapping[str, Attack], step: Step) -> Attack:
        """Return the inner attack of a step; subclasses choose among budgets or types."""
        return self.inner(single(attacks, "at"))

    def prepare(self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step) -> Crafted:
        """Make the clips to train on; the model is left as it was."""
        return self.attacked(model, batch, self.chosen(attacks, step), step)

    def fit(self, model: nn.Module, batch: Batch, crafted: Crafted, step: Step) -> tuple[Tensor, Logs]:
        """Return the loss to minimise, and what to log; ``passes`` without those of ``prepare``."""
        return self.fit_to(model, crafted.clips, crafted.target, 1)

    def attacked(self, model: nn.Module, batch: Batch, attack: Attack, step: Step) -> Crafted:
        """Craft with this attack as it stands; budget 0 means clean clips, for nothing."""
        if getattr(attack, "eps", 1) == 0:
            return clean(batch)
        result = self.craft(model, batch, attack, step)
        return Crafted(result.x_adv, batch.target, result.gradient_calls.float().mean())

    def losses(self, model: nn.Module, clips: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each clip, ``[B]``, as the inner attack sees it."""
        # Frozen weights as well: autocast would keep weights cast without a gradient and use them again in training.
        with mode(model, self.inner_mode == "train"), frozen(model), torch.no_grad():
            return self.task.loss(model(clips), target)

    def describe(self, attacks: Mapping[str, Attack], step: Step) -> dict[str, Any]:
        """Return the attack's budget in words."""
        return {"budget": {name: attack.threat.budget for name, attack in attacks.items()}}

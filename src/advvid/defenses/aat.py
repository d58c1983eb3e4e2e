"""Adaptive adversarial training: draw the budget, or the type of attack, where the model is weak."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from annotated_types import MinLen

from advvid.attacks.base import Attack
from advvid.core.batch import derive_seed
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, NotNegativeNumber
from advvid.core.numbers import parse_number
from advvid.defenses.at import AT
from advvid.defenses.base import Measure, Step, check_epsilon, single
from advvid.threats.base import grey_levels


@dataclass(kw_only=True)
class AATTypes(AT):
    """AAT over types of attack (Kinfu & Vidal, sec. 4.1 and algorithm 1 with types in place of budgets).

    Each batch is attacked by one member of ``attacks``, drawn from a distribution that is proportional to the loss
    that each member causes (eq. 8). The distribution starts at random (algorithm 1, line 2).

    Args:
        xi: the distribution is updated every ``max(1, floor(min(xi, K / n)))`` epochs, for K epochs and n choices.
        probabilities_on: ``validation`` measures the losses on the validation split; ``train`` on the training
            split, as algorithm 1 is written (K times dearer on large data).
    """

    xi: Count = 10
    probabilities_on: Literal["validation", "train"] = "validation"
    probabilities: dict[str, float] = field(default_factory=dict, init=False)

    @property
    def paced(self) -> bool:
        """Yes: how often the distribution is updated follows from it."""
        return True

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Want at least two choices."""
        if len(self.choices(attacks)) < 2:
            raise AdvvidError(
                "defense=aat_types draws among several attacks but got one: add some, for example "
                "+attack@defense.attacks.border=frame_border"
            )

    def choices(self, attacks: Mapping[str, Attack]) -> dict[str, Attack]:
        """Return the inner attacks to draw from, by name."""
        return {name: self.inner(attack) for name, attack in attacks.items()}

    def chosen(self, attacks: Mapping[str, Attack], step: Step) -> Attack:
        """Draw one choice for the batch (algorithm 1, lines 5 and 6)."""
        choices = self.choices(attacks)
        weights = torch.tensor(list(self._distribution(choices, step).values()))
        generator = torch.Generator().manual_seed(derive_seed(step.seed, "aat", step.key))
        index = int(torch.multinomial(weights, 1, generator=generator))
        return list(choices.values())[index]

    def interval(self, epochs: int, choices: int) -> int:
        """Return the number of epochs between updates (algorithm 1, line 10; at least 1)."""
        return max(1, math.floor(min(self.xi, epochs / choices)))

    def end_epoch(self, attacks: Mapping[str, Attack], step: Step, measure: Measure) -> dict[str, Any]:
        """Set each probability to its share of the adversarial loss (eq. 8), on the epochs where that is due."""
        choices = self.choices(attacks)
        if (step.epoch + 1) % self.interval(step.epochs, len(choices)):
            return {}
        split = "val" if self.probabilities_on == "validation" else "train"
        losses = {name: measure(attack, split) for name, attack in choices.items()}
        total = sum(losses.values())
        # Losses of exactly zero everywhere leave nothing to adapt to: every choice is then as good.
        self.probabilities = {n: loss / total if total > 0 else 1 / len(losses) for n, loss in losses.items()}
        return {"adversarial_loss": losses}

    def describe(self, attacks: Mapping[str, Attack], step: Step) -> dict[str, Any]:
        """Return the budgets and the distribution over them."""
        choices = self.choices(attacks)
        return {
            "budget": {name: attack.threat.budget for name, attack in choices.items()},
            "probabilities": self._distribution(choices, step),
        }

    def _distribution(self, choices: Mapping[str, Attack], step: Step) -> dict[str, float]:
        if set(self.probabilities) != set(choices):
            generator = torch.Generator().manual_seed(derive_seed(step.seed, "aat", "start"))
            weights = torch.rand(len(choices), generator=generator, dtype=torch.float64)
            self.probabilities = dict(zip(choices, (weights / weights.sum()).tolist(), strict=True))
        return {name: self.probabilities[name] for name in choices}

    def state_dict(self) -> dict[str, Any]:
        """Keep the distribution."""
        return {"probabilities": dict(self.probabilities)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the distribution back."""
        self.probabilities = dict(state["probabilities"])


@dataclass(kw_only=True)
class AAT(AATTypes):
    """AAT over budgets (Kinfu & Vidal, algorithm 1 and eq. 8): the choices are budgets of one attack.

    Args:
        budgets: the set E, in [0, 1]; the paper's is {0, 2, ..., 12}/255. Its code has 10 values evenly spaced from
            0 to 12/255 instead.
    """

    budgets: Annotated[Sequence[NotNegativeNumber], MinLen(2)] = (
        "0",
        "2/255",
        "4/255",
        "6/255",
        "8/255",
        "10/255",
        "12/255",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        values = [parse_number(budget, "defense.budgets") for budget in self.budgets]
        if len(set(values)) < 2:
            raise AdvvidError(
                f"defense.budgets={list(self.budgets)} leaves nothing to adapt: give at least two budgets"
            )
        self.budgets = tuple(values)

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Want one attack that has a budget eps, and only budgets that are possible for it."""
        attack = single(attacks, "aat")
        check_epsilon(attack, "aat")
        self.choices(attacks)

    def choices(self, attacks: Mapping[str, Attack]) -> dict[str, Attack]:
        """Return the attack at each budget."""
        attack = single(attacks, "aat")
        return {grey_levels(float(eps)): self.inner(attack, float(eps)) for eps in self.budgets}

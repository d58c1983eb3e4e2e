"""What the defenses with a generator share: F(G(X)), clips attacked as another defense would, gray-box views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.batch import Batch, clip_generators
from advvid.core.errors import AdvvidError
from advvid.defenses.at import AT
from advvid.defenses.base import Defense, Measure, Step
from advvid.models.modes import mode
from advvid.models.purified import Purified

# What the defense and the one that chooses its attacks must agree on.
SHARED = ("inner_steps", "inner_step_size", "inner_mode")


@dataclass(kw_only=True)
class Generative(Defense):
    """A generator G in front of the classifier F, trained on attacked clips (Kinfu & Vidal, sec. 4.3).

    Args:
        adversary: which attack each step has: ``at`` (one budget), ``cat`` (a rising one), ``aat`` (adaptive budgets) or
            ``aat_types`` (adaptive types).
        crafted_on: whom training attacks: the whole ``system`` F(G(X)), as in the paper's equations, or the
            ``classifier`` alone, whose clips are those of a gray-box attacker.
    """

    monitor: ClassVar[str] = "robust"
    unpurified: ClassVar[str] = "asks the generator and the classifier by themselves"

    adversary: AT = field(default_factory=AT)
    crafted_on: Literal["system", "classifier"] = "system"

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = type(self.adversary)
        if any(getattr(kind, half) is not getattr(AT, half) for half in ("objective", "prepare", "fit")):
            raise AdvvidError(
                f"defense.adversary={kind.__name__} does not choose an attack for each step: choose at, cat, "
                "cat_down, aat or aat_types"
            )
        for name in SHARED:
            if getattr(self.adversary, name) != getattr(self, name):
                raise AdvvidError(
                    f"defense.{name}={getattr(self, name)!r} and defense.adversary.{name}="
                    f"{getattr(self.adversary, name)!r} differ: set both to the same"
                )
        self.attacks = self.attacks or self.adversary.attacks

    def views(self, model: nn.Module) -> dict[str, nn.Module]:
        """Return the classifier alone, which the paper's attacks see (sec. 5.2)."""
        return {"gray_box": purified(model).classifier}

    @property
    def paced(self) -> bool:
        """As the adversary."""
        return self.adversary.paced

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Want what the adversary wants."""
        self.adversary.check(attacks, epochs)

    def require_shape(self, shape: Sequence[int]) -> None:
        """Want clips in colour, which the generator gives back."""
        if len(shape) != 4 or shape[0] != 3:
            raise AdvvidError(
                f"the generator of this defense takes clips in colour, [B, 3, T, H, W], not inputs of shape "
                f"{' x '.join(map(str, shape))}: choose another defense, or a data set of videos"
            )

    def attacked_part(self, model: nn.Module) -> nn.Module:
        """Return the system, or the classifier alone; probabilities of an adaptive adversary are measured on the same."""
        return model if self.crafted_on == "system" else purified(model).classifier

    def attacked(
        self, model: Purified, batch: Batch, attacks: Mapping[str, Attack], step: Step
    ) -> tuple[Tensor, Tensor]:
        """Return X' = X + delta under the step's attack, and its gradient calls per clip; budget 0 means X, for nothing."""
        attack = self.adversary.chosen(attacks, step)
        if getattr(attack, "eps", 1) == 0:
            return batch.inputs, torch.zeros(())
        generators = clip_generators(step.seed, step.key, batch.ids)
        with mode(model, self.inner_mode == "train"):  # of the whole, so that frozen parts stay in evaluation mode
            result = attack.run(self.attacked_part(model), batch.inputs, batch.target, generators, task=self.task)
        return result.x_adv, result.gradient_calls.float().mean()

    def end_epoch(self, attacks: Mapping[str, Attack], step: Step, measure: Measure) -> dict[str, Any]:
        """Let the adversary adapt."""
        return self.adversary.end_epoch(attacks, step, measure)

    def describe(self, attacks: Mapping[str, Attack], step: Step) -> dict[str, Any]:
        """Return the adversary's budgets."""
        return self.adversary.describe(attacks, step)

    def state_dict(self) -> dict[str, Any]:
        """Keep the adversary's state."""
        return {"adversary": self.adversary.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self.adversary.load_state_dict(state["adversary"])


def purified(model: nn.Module) -> Purified:
    """Return the model as what ``wrap`` made of it."""
    assert isinstance(model, Purified)
    return model

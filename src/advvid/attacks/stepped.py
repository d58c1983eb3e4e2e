"""A budget and a step size whose rules refer to it, as most attacks have them."""

from __future__ import annotations

from dataclasses import dataclass

from advvid.attacks.base import Attack, resolve_step
from advvid.core.kinds import NotNegativeNumber, Step


@dataclass(frozen=True, kw_only=True)
class SteppedAttack(Attack):
    """An attack that goes in steps within an additive budget.

    Args:
        eps: budget in [0, 1], a number or a fraction such as ``"8/255"``.
        step_size: a number, a fraction, ``optimal``, ``optimal/2`` or ``eps``.
    """

    eps: NotNegativeNumber = "8/255"
    step_size: Step = "optimal"

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.step  # refuses an unknown rule

    @property
    def radius(self) -> float:
        """The budget as a number in [0, 1]."""
        return float(self.eps)

    @property
    def step(self) -> float:
        """The step size as a number, after its rule."""
        return resolve_step(self.step_size, self.radius)

"""The fast gradient sign method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from advvid.attacks.gradient import GradientAttack
from advvid.core.kinds import Count, Step
from advvid.threats.balls import LinfBall


@dataclass(frozen=True, kw_only=True)
class FGSM(GradientAttack):
    """FGSM (Goodfellow et al. 2015; Kinfu & Vidal, eq. 2): one signed step of size eps from the clean clip.

    Distance: l-inf.

    Args:
        eps: budget. ``random_start=true`` with ``step_size=1.25*eps`` as a number gives the FGSM-RS form.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape.

    Example:
        >>> FGSM(eps="4/255").step == 4 / 255
        True
    """

    any_shape: ClassVar[bool] = True

    step_size: Step = "eps"
    steps: Count = 1
    random_start: bool = False

    @property
    def threat(self) -> LinfBall:
        """The l-inf ball of radius eps, cut by the range of valid pixels."""
        return LinfBall(self.radius, self.space)

    def inner(self, steps: int, step_size: float | str, eps: float | None = None) -> Self:
        """Return this attack with another budget; it keeps its one step, whatever the training's rule."""
        return self.adjusted(eps=self.eps if eps is None else eps, early_exit=False, keep="last")

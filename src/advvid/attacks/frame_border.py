"""PGD on the border of the frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Le

from advvid.attacks.gradient import GradientAttack
from advvid.core.kinds import Count, NotNegativeNumber, Positive, Step
from advvid.threats.regions import Border


@dataclass(frozen=True, kw_only=True)
class FrameBorder(GradientAttack):
    """Frame border attack (Kinfu & Vidal, sec. 2; adversarial framing in Lo & Patel).

    Distance: l-inf on the border, nothing inside.

    Args:
        ratio: area of the border over that of the frame; table 4 of the paper uses 0.10, 0.15 and 0.20.
        width: thickness in pixels at 112 x 112 instead of a ratio (Lo & Patel: 1 to 4, and 10).
        rounding: ``nearest`` or ``floor``; see ``advvid.threats.regions.Border``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``aux["mask"]`` is ``bool [B, 1, 1, H, W]``.
    """

    eps: NotNegativeNumber = 1.0
    step_size: Step = 0.02
    steps: Count = 100
    ratio: Annotated[float, Gt(0), Le(1)] = 0.1
    width: Positive | None = None
    rounding: Literal["nearest", "floor"] = "nearest"

    @property
    def threat(self) -> Border:
        """The border of the given area or width."""
        return Border(self.radius, self.space, self.ratio, self.width, self.rounding)

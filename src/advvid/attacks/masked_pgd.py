"""PGD inside one rectangle of the frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Le

from advvid.attacks.gradient import GradientAttack
from advvid.core.kinds import Count, NotNegativeNumber, Step
from advvid.threats.regions import Patch


@dataclass(frozen=True, kw_only=True)
class MaskedPGD(GradientAttack):
    """Masked PGD, or PGD patch (Kinfu & Vidal, sec. 2): PGD on a patch at the same place in all frames.

    Distance: l-inf inside the patch. The patch's sides are the frame's times ``sqrt(ratio)``.

    Args:
        ratio: area of the patch over that of the frame; table 4 of the paper uses 0.10, 0.15 and 0.20.
        location: ``random`` top left corner (the paper's words) or ``fixed`` at (0, 0) (its evaluation code).
            Budget, steps and step size default to the evaluation code's: any pixel value, 100 steps of 0.02.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``aux["mask"]`` is ``bool [B, 1, 1, H, W]``.
    """

    eps: NotNegativeNumber = 1.0
    step_size: Step = 0.02
    steps: Count = 100
    ratio: Annotated[float, Gt(0), Le(1)] = 0.1
    location: Literal["random", "fixed"] = "random"

    @property
    def varies(self) -> bool:
        """Whether the start or the place is drawn anew."""
        return self.random_start or self.location == "random"

    @property
    def threat(self) -> Patch:
        """All rectangles of the patch's size."""
        return Patch(self.radius, self.space, self.ratio, self.location)

"""Salt-and-pepper: any colour, but few pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from advvid.attacks.filled import FilledAttack
from advvid.core.kinds import Count, NotNegativeNumber, Numeral, Positive, Step
from advvid.threats.pixels import Pixels


@dataclass(frozen=True, kw_only=True)
class SaltAndPepper(FilledAttack):
    """SPA (Lo & Patel): PGD on random pixels of each frame, without a bound on their change.

    Distance: l0, pixels per frame. The pixels are distinct and drawn anew for every frame, and start at black.

    Args:
        count: pixels of each frame at 112 x 112, scaled by area / 112^2 (8 at 32 x 32).
        eps: largest change of a value; 1 is no bound.

    Other arguments: see ``FilledAttack`` and ``GradientAttack``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``aux["mask"]`` is ``bool [B, 1, T, H, W]``.

    Example:
        >>> SaltAndPepper(count=100).threat.number(32, 32)
        8
    """

    eps: NotNegativeNumber = 1.0
    step_size: Step = "70/255"
    steps: Count = 5
    fill: Annotated[float, Numeral()] = 0.0
    count: Positive = 100

    @property
    def varies(self) -> bool:
        """Always: the pixels are drawn anew."""
        return True

    @property
    def threat(self) -> Pixels:
        """All choices of that many pixels per frame."""
        return Pixels(self.radius, self.space, self.count)

"""Multiplicative adversarial videos: perturbations that multiply."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from advvid.attacks.gradient import IteratedAttack
from advvid.core.kinds import Count, Numeral, Positive
from advvid.threats.pixels import Pixels
from advvid.threats.ratio import BoundRegion, RatioBound
from advvid.threats.rectangles import Rectangles
from advvid.threats.regions import Border, RegionThreat


@dataclass(frozen=True, kw_only=True)
class MultAV(IteratedAttack):
    """MultAV (Lo & Patel 2021), in its five forms: ``x <- Clip(x * step_ratio ** sign(gradient))``.

    Distance: the ratio between the values of the clean and the adversarial clip. Black pixels cannot change. The
    search begins at the clean clip: a region filled with one colour first would break the ratio bound.

    Args:
        form: ``linf``; ``l2`` or ``rms``, with the gradient's unit vector in place of its sign; or ``linf`` inside the squares
            of ROA (``roa``), the border of adversarial framing (``af``) or the pixels of salt-and-pepper (``spa``).
        ratio: the ratio bound eps_m; its logarithm bounds the l2 norm (``l2``) or the root mean square (``rms``: the same
            ball at any size of clips) of all logarithms of ratios. 255 is the largest ratio between two grey levels above
            0, and so no bound for clips of 8 bits.
        step_ratio: alpha_m, what one step multiplies by.
        side: of the square of ``roa``, in pixels at 112 x 112.
        per_frame: a square at a place of its own in each frame (``roa``).
        width: of the border of ``af``, in pixels at 112 x 112.
        count: pixels of each frame of ``spa``, at 112 x 112.

    The published settings of the linf form are the defaults; those of the others are not known, and the options
    ``mult_av_*`` choose bounds of a strength similar to their additive counterparts.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``aux["mask"]`` as in the additive attack of the form.

    Example:
        >>> MultAV(ratio=1.04).threat.budget
        'ratio bound 1.04'
    """

    steps: Count = 5
    random_start: bool = False
    form: Literal["linf", "l2", "rms", "roa", "af", "spa"] = "linf"
    ratio: Annotated[float | str, Numeral(), Ge(1)] = 1.04
    step_ratio: Annotated[float | str, Numeral(), Ge(1)] = 1.01
    side: Positive = 30.0
    per_frame: bool = True
    width: Positive = 10
    count: Positive = 100

    @property
    def varies(self) -> bool:
        """Whether the start or the place is drawn anew."""
        return self.random_start or self.form in ("roa", "spa")

    @property
    def step(self) -> float:
        """The logarithm of ``step_ratio``: the length of a step of the clip's logarithm."""
        return math.log(float(self.step_ratio))

    @property
    def threat(self) -> RatioBound | BoundRegion:
        """The ratio bound, inside the region of the form."""
        bound = RatioBound(float(self.ratio), self.space, self.form if self.form in ("l2", "rms") else "linf")
        region = self._region()
        return bound if region is None else BoundRegion(region, bound)

    def _region(self) -> RegionThreat | None:
        whole = self.space.width
        if self.form == "roa":
            return Rectangles(whole, self.space, self.side, self.per_frame)
        if self.form == "af":
            return Border(whole, self.space, width=self.width)
        return Pixels(whole, self.space, self.count) if self.form == "spa" else None

"""Projected gradient descent in an l-inf or l2 ball."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from advvid.attacks.gradient import GradientAttack
from advvid.threats.balls import L2Ball, LinfBall, ball


@dataclass(frozen=True, kw_only=True)
class PGD(GradientAttack):
    """PGD (Madry et al. 2018; Kinfu & Vidal, eq. 3 and 7; the l2 form is Lo & Patel's PGD-l2).

    Distance: l-inf, or l2 over the whole clip.

    Args:
        norm: ``linf``; ``rms`` for the l2 ball with budget and step in root mean square over the values, which mean the same
            at any size of clips; ``l2`` with both in units of the clip's own l2 norm; or ``l2_each`` for that in each
            modality by itself. ``step_size`` wants a number or ``eps`` for all but the first. Other arguments: see
            ``GradientAttack``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape.

    Example:
        >>> PGD(eps=8 / 255, step_size=2 / 255, steps=10).threat.budget
        'l-inf 8/255'
    """

    any_shape: ClassVar[bool] = True

    norm: Literal["linf", "rms", "l2", "l2_each"] = "linf"

    @property
    def threat(self) -> LinfBall | L2Ball:
        """The norm ball of radius eps, cut by the range of valid pixels."""
        return ball(self.norm, self.radius, self.space)

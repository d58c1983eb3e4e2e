"""Norm balls around the clean clip, cut by the range of valid pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from advvid.batch import Space
from advvid.errors import AdvvidError
from advvid.threats.base import TOLERANCE, Aux, draw, grey_levels, per_clip


@dataclass(frozen=True)
class LinfBall:
    """``max |x_adv - x| <= eps``: the set B of Kinfu & Vidal, eq. 1, for p = infinity.

    Example:
        >>> LinfBall(8 / 255).budget
        'l-inf 8/255'
    """

    eps: float
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        if not 0 <= self.eps <= self.space.width:
            raise AdvvidError(
                f"eps={self.eps:g} is not a possible l-inf budget: values lie in [{self.space.low:g}, "
                f"{self.space.high:g}], so choose eps between 0 and {self.space.width:g} (such as 8/255)"
            )

    @property
    def budget(self) -> str:
        """The set in words."""
        return f"l-inf {grey_levels(self.eps)}"

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Draw nothing: a ball leaves no choice."""
        return {}

    def random_start(self, x: Tensor, generators: Sequence[torch.Generator], aux: Aux | None = None) -> Tensor:
        """Return ``x`` plus noise uniform in ``[-eps, eps]``, clamped to valid pixels."""
        noise = draw("rand", x.shape[1:], generators, x).mul_(2).sub_(1)
        return self.space.clamp(x + self.eps * noise)

    def ascend(self, x_adv: Tensor, grad: Tensor, step_size: float, aux: Aux | None = None) -> Tensor:
        """Step by ``step_size`` along the sign of the gradient (Kinfu & Vidal, eq. 3)."""
        return x_adv + step_size * grad.sign()

    def project(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Clamp every value to within eps of the clean one and to valid pixels."""
        return self.space.clamp(torch.minimum(torch.maximum(x_adv, x - self.eps), x + self.eps))

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips keep the budget and the range."""
        return (self.distance(x_adv, x) <= self.eps + TOLERANCE) & self.space.contains(x_adv)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return the largest absolute change in each clip."""
        return (x_adv - x).abs().flatten(1).amax(dim=1)


@dataclass(frozen=True)
class L2Ball:
    """``||x_adv - x||_2 <= eps`` over all values of a clip together (not per frame)."""

    eps: float
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        if not self.eps >= 0:
            raise AdvvidError(f"eps={self.eps:g} is not a possible l2 budget: choose a number of at least 0")

    @property
    def budget(self) -> str:
        """The set in words."""
        return f"l2 {self.eps:g} over the clip" if self.eps < math.inf else "any clip, measured in l2"

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Draw nothing: a ball leaves no choice."""
        return {}

    def random_start(self, x: Tensor, generators: Sequence[torch.Generator], aux: Aux | None = None) -> Tensor:
        """Return a point uniform in the ball, clamped to valid pixels."""
        direction = draw("randn", x.shape[1:], generators, x)
        radius = draw("rand", (), generators, x).pow(1 / x[0].numel())
        return self.space.clamp(x + direction * per_clip(self.eps * radius / _norm(direction), x))

    def ascend(self, x_adv: Tensor, grad: Tensor, step_size: float, aux: Aux | None = None) -> Tensor:
        """Step by ``step_size`` along the gradient scaled to unit l2 norm; a zero gradient gives no step."""
        return x_adv + grad * per_clip(step_size / _norm(grad), grad)

    def project(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Scale the change back into the ball, then clamp to valid pixels (which only shortens it)."""
        delta = x_adv - x
        shrink = (self.eps / _norm(delta)).clamp(max=1)
        return self.space.clamp(x + delta * per_clip(shrink, x))

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips keep the budget and the range."""
        # The rounding of each of n values adds up like sqrt(n) in the norm.
        room = self.eps * (1 + 1e-5) + 1e-7 * x[0].numel() ** 0.5
        return (self.distance(x_adv, x) <= room) & self.space.contains(x_adv)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return the l2 norm of the change in each clip."""
        return (x_adv - x).flatten(1).norm(dim=1)


def _norm(x: Tensor) -> Tensor:
    """Return the l2 norm of each clip, never zero, so that it may divide."""
    return x.flatten(1).norm(dim=1).clamp_min(1e-30)


def ball(norm: str, eps: float, space: Space) -> LinfBall | L2Ball:
    """Return the ball of a norm's name.

    Raises:
        AdvvidError: for a norm other than ``linf`` and ``l2``.
    """
    if norm == "linf":
        return LinfBall(eps, space)
    if norm == "l2":
        return L2Ball(eps, space)
    raise AdvvidError(f"norm={norm!r} is not known: choose linf or l2")

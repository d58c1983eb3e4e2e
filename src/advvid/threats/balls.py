"""Norm balls around the clean clip, cut by the range of valid pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.threats.base import TOLERANCE, Aux, Norm, draw, grey_levels, per_clip, root_mean_square


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
        # In place: new memory for a batch of clips costs more than the arithmetic on it.
        return self.space.clamp(noise.mul_(self.eps).add_(x), x)

    def ascend(self, x_adv: Tensor, grad: Tensor, step_size: float, aux: Aux | None = None) -> Tensor:
        """Step by ``step_size`` along the sign of the gradient (Kinfu & Vidal, eq. 3)."""
        return grad.sign().mul_(step_size).add_(x_adv)

    def box(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the largest value that each pixel may take; see ``Boxed``."""
        low, high = (x - self.eps).clamp_(min=self.space.low), (x + self.eps).clamp_(max=self.space.high)
        free = self.space.free(x)
        return (low, high) if free is None else (torch.where(free, low, x), torch.where(free, high, x))

    def project(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Clamp every value to within eps of the clean one and to valid pixels."""
        return self.space.clamp(torch.minimum(torch.maximum(x_adv, x - self.eps), x + self.eps), x)

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips keep the budget and the range."""
        return (self.distance(x_adv, x) <= self.eps + TOLERANCE) & self.space.contains(x_adv, x)

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

    def size_at(self, shape: Sequence[int]) -> str:
        """Say what the budget is for a value of a clip of this shape: the same number is less, the larger the clip."""
        return root_mean_square(self.eps / math.prod(shape) ** 0.5, self.space) if self.eps < math.inf else ""

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Draw nothing: a ball leaves no choice."""
        return {}

    def random_start(self, x: Tensor, generators: Sequence[torch.Generator], aux: Aux | None = None) -> Tensor:
        """Return a point uniform in the ball, clamped to valid pixels."""
        direction = draw("randn", x.shape[1:], generators, x)
        free = self.space.free(x)
        direction = direction if free is None else direction * free
        radius = draw("rand", (), generators, x).pow(1 / x[0].numel())
        return self.space.clamp(x + direction * (self.eps * per_clip(radius, x) / self._norms(direction)), x)

    def ascend(self, x_adv: Tensor, grad: Tensor, step_size: float, aux: Aux | None = None) -> Tensor:
        """Step by ``step_size`` along the gradient scaled to unit l2 norm; a zero gradient gives no step."""
        return x_adv + grad * (step_size / self._norms(grad))

    def project(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Scale the change back into the ball, then clamp to valid pixels (which only shortens it)."""
        delta = x_adv - x
        shrink = (self.eps / self._norms(delta)).clamp(max=1)
        return self.space.clamp(x + delta * shrink, x)

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips keep the budget and the range."""
        room = self.eps * (1 + 1e-5) + self._rounding(x)
        return (self.distance(x_adv, x) <= room) & self.space.contains(x_adv, x)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return the l2 norm of the change in each clip."""
        return (x_adv - x).flatten(1).norm(dim=1)

    def _norms(self, delta: Tensor) -> Tensor:
        """Return the norm that each value of a change counts into, never zero, in a shape that broadcasts."""
        return per_clip(_norm(delta), delta)

    def _rounding(self, x: Tensor) -> float:
        """Return the room for rounding: that of each of n values adds up like sqrt(n) in the norm."""
        return 1e-7 * x[0].numel() ** 0.5


@dataclass(frozen=True)
class RMSBall(L2Ball):
    """``||x_adv - x||_2 <= eps sqrt(n)`` for the n values of a clip: an l2 ball that means the same at any size of clips.

    Example:
        >>> RMSBall(4 / 255).budget
        'root mean square 4/255 over the clip'
    """

    @property
    def budget(self) -> str:
        """The set in words."""
        return f"root mean square {grey_levels(self.eps)} over the clip"

    def size_at(self, shape: Sequence[int]) -> str:
        """Say what the budget is in l2 for clips of this shape."""
        return f"l2 {self.eps * math.prod(shape) ** 0.5:.3g}"

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return the root mean square of the change in each clip."""
        return super().distance(x_adv, x) / x[0].numel() ** 0.5

    def _norms(self, delta: Tensor) -> Tensor:
        return super()._norms(delta) / delta[0].numel() ** 0.5

    def _rounding(self, x: Tensor) -> float:
        return 1e-7


@dataclass(frozen=True)
class L2EachBall(L2Ball):
    """``||x_adv - x||_2 <= eps`` in each modality of the space by itself, such as pictures and sound.

    Choudhary et al., eq. 3 and 4, who take the gradient for either modality and scale it to the same eps. For clips,
    which are one modality, it is the l2 ball.
    """

    @property
    def budget(self) -> str:
        """The set in words."""
        return f"{super().budget}, in each modality"

    def size_at(self, shape: Sequence[int]) -> str:
        """Say nothing: modalities differ in size."""
        return ""

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return the largest l2 norm that the change has in any modality."""
        return torch.stack([part.flatten(1).norm(dim=1) for part in self.space.parts(x_adv - x)]).amax(dim=0)

    def _norms(self, delta: Tensor) -> Tensor:
        parts = self.space.parts(delta)
        return torch.cat([per_clip(_norm(part), part).expand_as(part) for part in parts], dim=-1)


def _norm(x: Tensor) -> Tensor:
    """Return the l2 norm of each clip, never zero, so that it may divide."""
    return x.flatten(1).norm(dim=1).clamp_min(1e-30)


def ball(norm: Norm | Literal["rms", "l2_each"], eps: float, space: Space) -> LinfBall | L2Ball:
    """Return the ball of a norm's name."""
    kinds: dict[str, type[LinfBall | L2Ball]] = {
        "linf": LinfBall,
        "l2": L2Ball,
        "rms": RMSBall,
        "l2_each": L2EachBall,
    }
    return kinds[norm](eps, space)

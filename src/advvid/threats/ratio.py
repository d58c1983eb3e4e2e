"""Sets that bound by how much a value may be multiplied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from advvid.core.allowed import require
from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.threats.balls import L2Ball, LinfBall, ball
from advvid.threats.base import Aux, Norm, draw, per_clip
from advvid.threats.regions import RegionThreat

OVER = {"linf": "", "l2": " in l2 over the clip", "rms": " in root mean square over the clip"}


@dataclass(frozen=True)
class RatioBound:
    """The ratio bound of MultAV (Lo & Patel 2021): an additive ball around the logarithm of the clip.

    With ``r = log(x_adv / x)``, ``linf`` asks that ``max |r| <= log(ratio)``, which is that no value is multiplied or
    divided by more than ``ratio``; ``l2`` asks that ``||r||_2 <= log(ratio)`` over the clip, and ``rms`` the same of the root
    mean square of r, which means the same at any size of clips. A value of 0 stays 0.

    Args:
        ratio: the bound eps_m, at least 1 (which allows no change).
        space: of the values; none may be negative.
        norm: ``linf``, ``l2`` or ``rms``.
    """

    ratio: float
    space: Space = field(default_factory=Space)
    norm: Norm | Literal["rms"] = "linf"

    def __post_init__(self) -> None:
        if not 1 <= self.ratio < math.inf:
            raise AdvvidError(f"ratio={self.ratio:g} is not a possible ratio bound: choose a number of at least 1")
        if self.space.low < 0:
            raise AdvvidError("a ratio bound wants values of at least 0: choose an additive attack for this data")
        require(self.norm, Norm | Literal["rms"], "norm")

    @property
    def budget(self) -> str:
        """The set in words."""
        return f"ratio bound {self.ratio:g}{OVER[self.norm]}"

    def size_at(self, shape: Sequence[int]) -> str:
        """Say which ratio of every value alike spends the bound on the whole clip."""
        spread = math.prod(shape) ** 0.5
        return f"{self.ratio ** (1 / spread):.5g} on every value" if self.norm == "l2" else ""

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Draw nothing: a ball leaves no choice."""
        return {}

    def random_start(self, x: Tensor, generators: Sequence[torch.Generator], aux: Aux | None = None) -> Tensor:
        """Return a clip whose logarithm is uniform in the ball, then clamped to valid pixels."""
        size = math.log(self.ratio)
        if self.norm == "linf":
            noise = draw("rand", x.shape[1:], generators, x).mul_(2).sub_(1).mul_(size)
        else:
            noise = ball(self.norm, size, Space(-math.inf, math.inf)).random_start(torch.zeros_like(x), generators)
        return self.project(x * noise.exp(), x)

    def ascend(self, x_adv: Tensor, grad: Tensor, step_size: float, aux: Aux | None = None) -> Tensor:
        """Multiply by ``exp(step_size)`` to the sign, or to the unit vector, of the gradient (the slides' equations)."""
        if self.norm == "linf":
            return x_adv * (step_size * grad.sign()).exp()
        unit = grad * per_clip(1 / self._norm(grad).clamp_min(1e-30), grad)
        return x_adv * (step_size * unit).exp()

    def project(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Move every value into the bound (``linf``) or shrink all logarithms (``l2``), then clamp to valid pixels."""
        if self.norm == "linf":
            return self.space.clamp(torch.minimum(torch.maximum(x_adv, x / self.ratio), x * self.ratio))
        # Values of 0 make infinite logarithms; exp(80) is still a float. NaN stays, to be found by the check.
        log_ratio = _log_ratio(self.space.clamp(x_adv), x).nan_to_num(math.nan, 80.0, -80.0)
        shrink = (math.log(self.ratio) / self._norm(log_ratio).clamp_min(1e-30)).clamp(max=1)
        return self.space.clamp(x * (log_ratio * per_clip(shrink, x)).exp())

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips keep the bound and the range."""
        room = 1e-6 + (1e-7 * x[0].numel() ** 0.5 if self.norm == "l2" else 0)
        far = self._length(x_adv, x)
        return (far <= math.log(self.ratio) * (1 + 1e-5) + room) & self.space.contains(x_adv)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return the bound that each clip just keeps: its largest ratio (``linf``), or the exponential of r's norm."""
        return self._length(x_adv, x).exp()

    def _length(self, x_adv: Tensor, x: Tensor) -> Tensor:
        log_ratio = _log_ratio(x_adv, x)
        return log_ratio.abs().flatten(1).amax(dim=1) if self.norm == "linf" else self._norm(log_ratio)

    def _norm(self, change: Tensor) -> Tensor:
        length = change.flatten(1).norm(dim=1)
        return length / change[0].numel() ** 0.5 if self.norm == "rms" else length


def _log_ratio(x_adv: Tensor, x: Tensor) -> Tensor:
    """Return ``log(x_adv / x)``: 0 where both are 0, infinite where one is, NaN where either is NaN or negative."""
    return torch.where(x_adv == x, torch.zeros_like(x), (x_adv / x).log())


@dataclass(frozen=True)
class BoundRegion:
    """A region whose values keep a bound other than the region's own additive one.

    Args:
        region: says which pixels may change.
        ball: says by how much.
    """

    region: RegionThreat
    ball: RatioBound | LinfBall | L2Ball

    @property
    def budget(self) -> str:
        """The set in words."""
        return f"{self.region.where}, {self.ball.budget}"

    def size_at(self, shape: Sequence[int]) -> str:
        """Say how large the region is in frames of this size."""
        return self.region.size_at(shape)

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Draw the region of each clip."""
        return self.region.sample(x, generators)

    def random_start(self, x: Tensor, generators: Sequence[torch.Generator], aux: Aux | None = None) -> Tensor:
        """Return a random member of the ball inside the region, ``x`` outside."""
        return torch.where(self.region.mask(aux), self.ball.random_start(x, generators), x)

    def ascend(self, x_adv: Tensor, grad: Tensor, step_size: float, aux: Aux | None = None) -> Tensor:
        """Take the ball's step inside the region only."""
        mask = self.region.mask(aux)
        return torch.where(mask, self.ball.ascend(x_adv, grad * mask, step_size), x_adv)

    def project(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Return to the ball inside the region and restore the clean pixels outside."""
        mask = self.region.mask(aux)
        return torch.where(mask, self.ball.project(torch.where(mask, x_adv, x), x), x)

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips keep the ball and change pixels of one allowed region only."""
        return self.region.covers(x_adv, x, aux) & self.ball.contains(x_adv, x)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return how far each clip went in the ball's measure."""
        return self.ball.distance(x_adv, x)

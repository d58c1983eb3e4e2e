"""Norm balls that favour few large changes: l1, and l0, which counts the values that change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.threats.base import Aux, draw, per_clip


@dataclass(frozen=True)
class L1Ball:
    """``sum |x_adv - x| <= eps`` over all values of a clip together.

    Example:
        >>> L1Ball(20).budget
        'l1 20 over the clip'
    """

    eps: float
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        if not self.eps >= 0:
            raise AdvvidError(f"eps={self.eps:g} is not a possible l1 budget: choose a number of at least 0")

    @property
    def budget(self) -> str:
        """The set in words."""
        return f"l1 {self.eps:g} over the clip" if self.eps < math.inf else "any clip, measured in l1"

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Draw nothing: a ball leaves no choice."""
        return {}

    def random_start(self, x: Tensor, generators: Sequence[torch.Generator], aux: Aux | None = None) -> Tensor:
        """Return ``x`` plus noise of l1 norm eps, or less, clamped to valid pixels."""
        noise = draw("randn", x.shape[1:], generators, x)
        reach = draw("rand", (), generators, x) * min(self.eps, self.space.width * x[0].numel())
        return self.space.clamp(x + noise * per_clip(reach / noise.flatten(1).abs().sum(dim=1).clamp_min(1e-30), x), x)

    def ascend(self, x_adv: Tensor, grad: Tensor, step_size: float, aux: Aux | None = None) -> Tensor:
        """Step by ``step_size`` in the one value whose gradient is largest."""
        return x_adv + step_size * grad.sign() * keep_largest(grad, torch.ones(len(grad), device=grad.device))

    def project(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Return the nearest change in the ball, then clamp to valid pixels (which only shortens it)."""
        return self.space.clamp(x + onto_l1(x_adv - x, torch.full((len(x),), self.eps, device=x.device)), x)

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips keep the budget and the range."""
        # Each of n values is rounded by itself.
        room = self.eps * (1 + 1e-5) + 1e-7 * x[0].numel()
        return (self.distance(x_adv, x) <= room) & self.space.contains(x_adv, x)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return the sum of absolute changes in each clip."""
        return (x_adv - x).abs().flatten(1).sum(dim=1)


@dataclass(frozen=True)
class L0Ball(L1Ball):
    """At most eps values of a clip change, by as much as they like; each channel of a pixel is a value."""

    def __post_init__(self) -> None:
        if not self.eps >= 0:
            raise AdvvidError(f"eps={self.eps:g} is not a possible number of values: choose a number of at least 0")

    @property
    def budget(self) -> str:
        """The set in words."""
        return f"l0 {self.eps:g}: values of the clip" if self.eps < math.inf else "any clip, measured in l0"

    def random_start(self, x: Tensor, generators: Sequence[torch.Generator], aux: Aux | None = None) -> Tensor:
        """Return ``x`` with eps of its values, at random places, drawn from the whole range."""
        ticket, value = (draw("rand", x.shape[1:], generators, x) for _ in range(2))
        chosen = keep_largest(ticket, torch.full((len(x),), self.eps, device=x.device))
        return self.space.clamp(torch.where(chosen, self.space.low + self.space.width * value, x), x)

    def ascend(self, x_adv: Tensor, grad: Tensor, step_size: float, aux: Aux | None = None) -> Tensor:
        """Move the ``step_size`` values of largest gradient through the whole range."""
        chosen = keep_largest(grad, torch.full((len(grad),), float(step_size), device=grad.device))
        return x_adv + self.space.width * grad.sign() * chosen

    def project(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Keep the eps largest changes and clamp to valid pixels."""
        kept = keep_largest(x_adv - x, torch.full((len(x),), self.eps, device=x.device))
        return self.space.clamp(torch.where(kept, x_adv, x), x)

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips keep the budget and the range."""
        return (self.distance(x_adv, x) <= self.eps) & self.space.contains(x_adv, x)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return the number of values that changed in each clip."""
        return (x_adv != x).flatten(1).sum(dim=1).to(x.dtype)


def keep_largest(change: Tensor, count: Tensor) -> Tensor:
    """Return where the ``count`` largest magnitudes of each clip are, ``bool`` like ``change``; of equals the first.

    Shape:
        change: ``[B, ...]``; count: ``[B]``, rounded down.
    """
    order = change.flatten(1).abs().argsort(dim=1, descending=True, stable=True)
    rank = torch.arange(order.shape[1], device=change.device).expand_as(order)
    kept = torch.zeros_like(order, dtype=torch.bool).scatter(1, order, rank < count.floor()[:, None])
    return kept.view_as(change)


def onto_l1(change: Tensor, radius: Tensor) -> Tensor:
    """Return the nearest change in the l1 ball of each clip's radius (Duchi et al. 2008, fig. 1).

    Shape:
        change: ``[B, ...]``; radius: ``[B]``.

    Example:
        >>> onto_l1(torch.tensor([[3.0, -1.0]]), torch.tensor([2.0]))
        tensor([[2., -0.]])
    """
    size = change.flatten(1).abs()
    ranked = size.sort(dim=1, descending=True).values
    number = torch.arange(1, size.shape[1] + 1, device=change.device)
    excess = (ranked.cumsum(dim=1) - radius[:, None]) / number
    last = (ranked > excess).sum(dim=1, keepdim=True).clamp_min(1) - 1
    cut = torch.where(size.sum(dim=1) <= radius, 0.0, excess.gather(1, last)[:, 0])
    shrunk = (size - cut[:, None]).clamp_min(0).view_as(change) * change.sign()
    return torch.where(per_clip(radius > 0, change), shrunk, 0.0)

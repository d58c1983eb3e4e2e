"""The objective of flickering attacks, and how their offsets are updated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from advvid.attacks.base import Attack
from advvid.attacks.problem import Goal, Targeted
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, NotNegative, NotNegativeNumber, Numeral
from advvid.core.numbers import parse_number
from advvid.threats.base import Aux
from advvid.threats.offsets import Offsets


@dataclass(frozen=True, kw_only=True)
class Flicker(Attack):
    """What per-video and universal flickering share: eq. 4 of Kinfu & Vidal (after Pony et al. 2021).

    Minimised is ``beta_0 (beta_1 D1 + beta_2 D2) + hinge``: D1 is the mean square of the offsets (thickness), D2 that of
    their first and of their second cyclic differences in time (roughness), and the hinge is a Carlini-Wagner loss on
    probabilities, see ``margin_hinge``.

    Args:
        beta_0: weight of both regularisers (lambda of eq. 4); table 4 of the paper averages 4, 2 and 1.
        beta_1: weight of thickness.
        beta_2: weight of roughness.
        margin: how far another class must lead, in probability, before the hinge is satisfied.
        optimizer: ``sign`` steps by ``step_size`` (the code behind table 4); ``adam`` with that learning rate (the
            attack's authors: .001, beta_1 and beta_2 .5, 2500 steps).
        step_size: of an update, in [0, 1].
        steps: iterations.
        targeted: None, ``least_likely``, ``random`` or a class number; ``run(targets=...)`` gives targets instead.
    """

    beta_0: Annotated[NotNegative, Numeral()] = 1.0
    beta_1: Annotated[NotNegative, Numeral()] = 0.1
    beta_2: Annotated[NotNegative, Numeral()] = 0.9
    margin: Annotated[float, Numeral(), Gt(0), Lt(1)] = 0.05
    optimizer: Literal["sign", "adam"] = "sign"
    step_size: NotNegativeNumber = 0.02
    steps: Count = 100
    targeted: Targeted = None

    @property
    def threat(self) -> Offsets:
        """All offsets per frame and channel."""
        return Offsets(self.space)

    def penalty(self, pattern: Tensor) -> Tensor:
        """Return the weighted regularisers of patterns ``[P, C, T]``, ``[P]``."""
        first, second = differences(pattern)
        thick, rough = (_mean(pattern.square()), _mean(first.square()) + _mean(second.square()))
        return self.beta_0 * (self.beta_1 * thick + self.beta_2 * rough)

    def optimiser(self, pattern: Tensor) -> Descent:
        """Return a fresh optimiser for patterns of this shape."""
        return Descent(parse_number(self.step_size, "step_size"), self.optimizer == "adam", torch.zeros_like(pattern))


@dataclass
class Descent:
    """Sign descent, or Adam (Kingma & Ba 2015) with a state per clip, so that clips may leave.

    Shape:
        mean, square: ``[P, C, T]`` like the patterns.
    """

    step_size: float
    adam: bool
    mean: Tensor
    square: Tensor = field(init=False)
    taken: int = 0

    def __post_init__(self) -> None:
        self.square = self.mean.clone()

    def __call__(self, pattern: Tensor, grad: Tensor) -> Tensor:
        """Return the pattern after one step down the gradient."""
        if not self.adam:
            return pattern - self.step_size * grad.sign()
        self.taken += 1
        self.mean = 0.9 * self.mean + 0.1 * grad
        self.square = 0.999 * self.square + 0.001 * grad.square()
        mean, square = self.mean / (1 - 0.9**self.taken), self.square / (1 - 0.999**self.taken)
        return pattern - self.step_size * mean / (square.sqrt() + 1e-8)

    def select(self, index: Tensor) -> None:
        """Forget all clips but these."""
        self.mean, self.square = self.mean[index], self.square[index]


def margin_hinge(out: Tensor, goal: Goal, margin: float) -> Tensor:
    """Return how far each clip is from being fooled by ``margin``, in probability, ``[B]``.

    With ``l`` the label's probability minus the largest other one plus the margin (for targets: the largest other one
    minus the target's), it is ``max(0, min(l^2 / margin, l))``: linear far away, flat where the clip is fooled.

    Raises:
        AdvvidError: if the model's output is not one logit per class.
    """
    wanted = goal.labels if goal.targets is None else goal.targets
    if out.dim() != 2 or wanted.dim() != 1:
        raise AdvvidError("flickering needs one logit per class and one label per clip: choose pgd for this task")
    # In double precision a confident model's probabilities still have a gradient.
    probabilities = out.double().softmax(dim=1)
    own = probabilities.gather(1, wanted[:, None]).squeeze(1)
    rest = probabilities.scatter(1, wanted[:, None], -1.0).amax(dim=1)
    lead = (own - rest if goal.targets is None else rest - own) + margin
    return torch.minimum(lead.square() / margin, lead).where(lead > 0, 0.0).float()


def differences(pattern: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and second differences in time of patterns ``[P, C, T]``, whose end meets their beginning."""
    after, before = pattern.roll(-1, dims=2), pattern.roll(1, dims=2)
    return after - pattern, after - 2 * pattern + before


def describe(pattern: Tensor) -> Aux:
    """Return patterns ``[B, C, T]`` with their thickness and roughness.

    Both are fractions of the value range, ``[B]``: the mean absolute offset, and the mean absolute change of the
    offset from a frame to the next (Pony et al. give them in percent).
    """
    pattern = pattern.detach()
    return {"pattern": pattern, "thickness": _mean(pattern.abs()), "roughness": _mean(differences(pattern)[0].abs())}


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(dim=1)

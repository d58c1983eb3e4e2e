"""V-BAD: signs that another network suggests, patch by patch set right by the model's scores."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from advvid.attacks.base import AttackResult, frozen
from advvid.attacks.nes import NES, antithetic
from advvid.attacks.problem import Problem
from advvid.attacks.transfer import UNTRAINED, require_surrogate, require_surrogate_shape, surrogate_of
from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, FilePath, Positive
from advvid.models.modes import mode
from advvid.threats.base import draw

# Outputs of the untrained network, whose random sums are followed.
FEATURES = 64


@dataclass(frozen=True, kw_only=True)
class VBAD(NES):
    """V-BAD (Jiang et al. 2019, "Black-box adversarial attacks on video recognition models", algorithms 1 and 2).

    In each round the gradient of another network, here of a random sum of its outputs, gives a tentative sign of every
    value. The clip is cut into patches of each frame, and NES estimates one weight for each patch, by which its tentative
    signs are turned round or kept: hundreds of unknowns in place of one for each value. Distance: l-inf.

    The paper takes features of image networks trained on ImageNet for the tentative signs; here it is any run of advvid, or a
    small network of random weights, the paper's weaker variant. Patches are those of the authors' code.
    That code asks 48 times with noise of 0.001, begins at random in the ball, lowers the largest logit instead of the margin,
    ranks the scores of a population, takes the sign of each patch's weight, remembers no estimate, and lets its step fall
    from 0.01 to 0.001; here it goes as ``NES`` does.

    Args:
        surrogate: run folder or ``.pt`` file of a training run; in Python also a module that maps clips to outputs.
            ``untrained`` is a small network of random weights.
        which: ``last`` or ``best`` checkpoint of a run folder.
        follow: ``random`` sums of the surrogate's outputs, or its ``loss`` on the same labels.
        patch: side of a patch in pixels at 112 x 112, scaled by the shorter side / 112 and at least 1 (the
            authors' code: 8 x 8 patches of a frame, which 14 is).
        depth: frames of a patch (the paper: 1).
            Other arguments: see ``NES``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``aux["queries"]`` is
        int ``[B]``; ``gradient_calls``, those of the scored model, is 0.

    Example:
        >>> VBAD(patch=28).grid((16, 112, 112))
        (16, 4, 4)
    """

    surrogate: FilePath | nn.Module = UNTRAINED
    which: checkpoint.Which = "last"
    follow: Literal["random", "loss"] = "random"
    patch: Positive = 14.0
    depth: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_surrogate(self.surrogate, self.which)
        if self.follow == "loss" and self.surrogate == UNTRAINED:
            raise AdvvidError(
                "attack.follow=loss needs a surrogate that knows the classes: give attack.surrogate a run of this data, or "
                "leave attack.follow=random"
            )

    def require_shape(self, shape: Sequence[int]) -> None:
        """Refuse what the untrained surrogate cannot take."""
        super().require_shape(shape)
        require_surrogate_shape(self.surrogate, shape)

    def grid(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the number of patches in time, height and width for clips of shape ``(T, H, W)``."""
        frames, height, width = shape
        side = max(1, int(self.patch * min(height, width) / 112 + 0.5))
        return math.ceil(frames / self.depth), math.ceil(height / side), math.ceil(width / side)

    def _search(self, problem: Problem) -> AttackResult:
        # Looked up once rather than at every estimate.
        surrogate = surrogate_of(self.surrogate, self.which, problem.clips, FEATURES)
        return super(VBAD, dataclasses.replace(self, surrogate=surrogate))._search(problem)

    def _estimate(self, problem: Problem, x: Tensor, pairs: int) -> Tensor:
        signs = self._tentative(problem, x)
        shape = (int(x.shape[2]), int(x.shape[3]), int(x.shape[4]))
        cells = self.grid(shape)
        places = [torch.arange(n, device=x.device) * m // n for n, m in zip(shape, cells, strict=True)]

        def spread(weights: Tensor) -> Tensor:
            for dim, index in enumerate(places, start=2):
                weights = weights.index_select(dim, index)
            return weights * signs

        def noise() -> tuple[Tensor, Tensor]:
            weights = draw("randn", (1, *cells), problem.generators, x)
            return weights, spread(weights)

        return spread(antithetic(problem, x, noise, pairs, float(self.sigma)))

    def _tentative(self, problem: Problem, x: Tensor) -> Tensor:
        """Return the signs that the surrogate suggests, like ``x``."""
        surrogate = surrogate_of(self.surrogate, self.which, x, FEATURES)
        point = x.detach().requires_grad_()
        with torch.enable_grad(), mode(surrogate, False), frozen(surrogate):
            out = surrogate(point)
            if self.follow == "loss":
                gain = problem.goal.loss(out)
            else:
                gain = (out.flatten(1) * draw("randn", out[0].flatten().shape, problem.generators, out)).sum(dim=1)
            (gradient,) = torch.autograd.grad(gain.sum(), point)
        return gradient.sign()

"""Gradients made for transfer: ahead of the momentum, over resized and darker copies, smoothed in space."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from advvid.attacks.mi_fgsm import MIFGSM
from advvid.attacks.problem import Goal, Problem
from advvid.attacks.result import AttackResult
from advvid.attacks.search import GradientRule
from advvid.core.kinds import Count, NotNegative, Share
from advvid.threats.base import draw


@dataclass(frozen=True, kw_only=True)
class TransferFGSM(MIFGSM):
    """MI-FGSM with what makes gradients hold on other models: four methods for images, each by itself or together.

    - Nesterov momentum (Lin et al. 2020, sec. 3.1): the gradient is taken a step ahead, along the memory.
    - Input diversity (Xie et al. 2019): the clip is shrunk at random and put somewhere on a black one, all frames alike.
    - Scale-invariant gradients (Lin et al. 2020, sec. 3.2): the mean over copies of the clip at 1, 1/2, 1/4, ... of its values.
    - Translation-invariant gradients (Dong et al. 2019, eq. 5): the gradient is smoothed by a Gaussian in each frame.

    Distance: l-inf or l2 over the whole clip.

    Args:
        nesterov: take the gradient ahead of the iterate.
        diversity: probability that a step sees a shrunken clip (Xie et al.: 0.5; 0 for never).
        smallest: least side of a shrunken clip, as part of the whole (0.9 is theirs, seen from the larger side).
        scales: copies of the clip, each of half the last one's values (Lin et al.: 5; 1 for the clip alone).
        smoothing: side of the Gaussian in pixels at 112 x 112, scaled by the shorter side / 112 to an odd number of at least
            3 (Dong et al.: 15 at 299 x 299, 5.6 here; 0 for none). Its standard deviation is a sixth of its side.
            Other arguments: see ``MIFGSM``; with ``random_start=false`` and ``restarts=1`` as there.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``gradient_calls`` counts every copy.

    Example:
        >>> TransferFGSM(scales=1, smoothing=0, diversity=0).nesterov
        True
    """

    nesterov: bool = True
    diversity: Share = 0.5
    smallest: Share = 0.9
    scales: Count = 5
    smoothing: NotNegative = 5.6

    def notes(self, classes: int) -> tuple[str, ...]:
        """Return that it is made for transfer: on the model that it is crafted on, PGD is stronger."""
        return (
            "TransferFGSM is a transfer attack: its gradients are for fooling other models, and PGD is stronger on the model itself.",
        )

    def _one_start(self, problem: Problem) -> AttackResult:
        result = super()._one_start(problem)
        return dataclasses.replace(result, gradient_calls=self.scales * result.gradient_calls)

    def _slope(self, problem: Problem, memory: Tensor) -> GradientRule:
        # All numbers of a clip are drawn at once, so that they depend on nothing else.
        drawn = draw("rand", (max(self.steps, 1), self.scales, 4), problem.generators, problem.clips)
        count = itertools.count()

        def varied(x_adv: Tensor, out: Tensor, goal: Goal, active: Tensor) -> Tensor:
            numbers = drawn[active, next(count)].unbind(dim=1)
            point = x_adv.detach()
            if self.nesterov:
                point = self.threat.ascend(point, memory[active], self.step * self.momentum)
            grad = torch.zeros_like(point)
            for scale, number in enumerate(numbers):
                here = point.clone().requires_grad_()
                seen = here / 2**scale
                seen = seen if self.diversity == 0 else shrunken(seen, number, self.diversity, self.smallest)
                (part,) = torch.autograd.grad(goal.loss(problem.model(seen)).sum(), here)
                grad += part / self.scales
            return grad if self.smoothing == 0 else smoothed(grad, self.smoothing)

        return varied


def shrunken(clips: Tensor, numbers: Tensor, probability: float, smallest: float) -> Tensor:
    """Return clips that are shrunk at random, somewhere on a black clip of the same size; differentiable.

    Args:
        clips: ``[B, C, T, H, W]``.
        numbers: uniform in [0, 1], ``[B, 4]``: whether, by how much, how far down and across.
        probability: of a clip to be shrunk.
        smallest: least part of its side that a clip shrinks to.
    """
    whether, size, down, across = numbers.unbind(dim=1)
    part = torch.where(whether < probability, smallest + (1 - smallest) * size, 1.0).clamp_min(1e-3)
    none = torch.zeros_like(part)
    # Where a place of the result comes from, both in [-1, 1]: (place - shift) / part.
    moved = [-(2 * place - 1) * (1 - part) / part for place in (across, down)]
    theta = torch.stack([1 / part, none, moved[0], none, 1 / part, moved[1]], dim=1).view(-1, 1, 2, 3)
    size_, channels, frames, height, width = clips.shape
    theta = theta.expand(-1, frames, -1, -1).reshape(-1, 2, 3)
    grid = F.affine_grid(theta, [size_ * frames, channels, height, width], align_corners=False)
    flat = clips.transpose(1, 2).reshape(size_ * frames, channels, height, width)
    return F.grid_sample(flat, grid, align_corners=False).view(size_, frames, channels, height, width).transpose(1, 2)


def smoothed(grad: Tensor, side: float) -> Tensor:
    """Return gradients ``[B, C, T, H, W]`` smoothed by a Gaussian in each frame, whose side is meant at 112 x 112."""
    reach = max(1, round((side * min(grad.shape[-2:]) / 112 - 1) / 2))
    place = torch.arange(-reach, reach + 1, device=grad.device, dtype=grad.dtype)
    kernel = torch.exp(-((6 * place / (2 * reach + 1)) ** 2) / 2)
    kernel = kernel / kernel.sum()
    flat = grad.flatten(0, 2)[:, None]
    flat = F.conv2d(flat, kernel.view(1, 1, -1, 1), padding=(reach, 0))
    return F.conv2d(flat, kernel.view(1, 1, 1, -1), padding=(0, reach)).view_as(grad)

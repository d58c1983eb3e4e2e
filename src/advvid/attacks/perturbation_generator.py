"""The network that turns a vector of noise into a perturbation of a whole clip."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PerturbationGenerator(nn.Module):
    """A linear layer and two transposed 3-D convolutions, doubling time and space, with an output in [-1, 1].

    Args:
        shape: ``(C, T, H, W)`` of the perturbation.
        latent: length of the noise vector.
        width: channels of the first feature map; the second has half.

    Shape:
        noise ``[P, latent]``; result ``[P, C, T, H, W]`` in [-1, 1].

    Example:
        >>> PerturbationGenerator((3, 8, 32, 32))(torch.randn(2, 32)).shape
        torch.Size([2, 3, 8, 32, 32])
    """

    def __init__(self, shape: Sequence[int], latent: int = 32, width: int = 16) -> None:
        super().__init__()
        self.shape = tuple(shape)
        channels, frames, height, side = self.shape
        self.seed_shape = (width, math.ceil(frames / 2), math.ceil(height / 4), math.ceil(side / 4))
        self.linear = nn.Linear(latent, math.prod(self.seed_shape))
        self.grow = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.ConvTranspose3d(width, max(1, width // 2), 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose3d(max(1, width // 2), channels, (3, 4, 4), stride=(1, 2, 2), padding=1),
            nn.Tanh(),
        )

    def forward(self, noise: Tensor) -> Tensor:
        """Return perturbations, cut to the clip's shape."""
        grown = self.grow(self.linear(noise).view(-1, *self.seed_shape))
        _, frames, height, side = self.shape
        return grown[:, :, :frames, :height, :side]


def seeded(shape: Sequence[int], latent: int, width: int, generator: torch.Generator) -> PerturbationGenerator:
    """Return a generator network whose first weights depend on ``generator`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return PerturbationGenerator(shape, latent, width)

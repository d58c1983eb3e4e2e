"""Small networks of the tests; not in ``conftest.py``, whose name every folder of tests may have one of."""

from __future__ import annotations

import torch
from torch import nn


class Small3D(nn.Module):
    """A 3-D network with BatchNorm, small enough for exact comparisons."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(3, 8, 3, padding=1),
            nn.BatchNorm3d(8),
            nn.ReLU(),
            nn.Conv3d(8, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool3d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(64, classes)
        nn.init.normal_(self.head.weight, std=3.0)  # so that answers differ and inputs matter

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(clips))


class LinearModel(nn.Module):
    """Two logits, +w.x and -w.x, for which the worst case in a ball is known in closed form."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        super().__init__()
        w = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        self.w = nn.Parameter(w)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        score = ((clips - 0.5) * self.w).flatten(1).sum(dim=1)
        return torch.stack([score, -score], dim=1)

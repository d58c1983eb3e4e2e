"""A network of one's own: any ``nn.Module`` from normalised clips to logits."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class MyNet(nn.Module):
    """Three 3-D convolutions and a linear layer.

    Args:
        num_classes: number of logits, K.
        channels: of the first layer; each layer has twice those of the one before.

    Shape:
        clips ``[B, 3, T, H, W]``, normalised; logits ``[B, K]``.
    """

    def __init__(self, num_classes: int, channels: int = 8) -> None:
        super().__init__()
        sizes = [3, channels, 2 * channels, 4 * channels]
        self.body = nn.Sequential(
            *(
                nn.Sequential(nn.Conv3d(have, want, 3, (1, 2, 2), 1), nn.BatchNorm3d(want), nn.ReLU())
                for have, want in pairwise(sizes)
            )
        )
        self.fc = nn.Linear(sizes[-1], num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits ``[B, K]``."""
        return self.fc(self.body(clips).mean(dim=(2, 3, 4)))

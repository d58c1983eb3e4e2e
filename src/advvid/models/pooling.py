"""Head pooling that also works on clips smaller than those a network was published for."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class FittedPool(nn.Module):
    """Average over all of time and over a window of pixels that shrinks to the features where they are smaller.

    At the published clip length and size this is the published pooling; on smaller clips it becomes a global
    average, where the fixed window would fail.

    Args:
        height: the window's height in feature pixels.
        width: the window's width in feature pixels.

    Shape:
        ``[B, C, T, H, W]`` to ``[B, C, 1, H - min(height, H) + 1, W - min(width, W) + 1]``.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, features: Tensor) -> Tensor:
        """Return the averages."""
        frames, height, width = features.shape[2:]
        return F.avg_pool3d(features, (frames, min(self.height, height), min(self.width, width)), stride=1)

    def extra_repr(self) -> str:
        """Show the window in the printed network."""
        return f"height={self.height}, width={self.width}"


def fit_pools(net: nn.Module) -> None:
    """Replace, in place, every average pooling of stride 1 without padding (as in heads) by a ``FittedPool``."""
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if (
                isinstance(child, nn.AvgPool3d)
                and _triple(child.stride) == (1, 1, 1)
                and not any(_triple(child.padding))
            ):
                _, height, width = _triple(child.kernel_size)
                setattr(parent, name, FittedPool(height, width))


def _triple(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value,) * 3 if isinstance(value, int) else tuple(value)

"""Restoration of features at more and at less than their own resolution."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F


class OverUnder(nn.Module):
    """The OUDefend block (Lo, Valanarasu & Patel 2021; Lo & Patel's slides): what restoration adds to features.

    A 1x1x1 convolution to few channels, two encoder-decoders side by side, their sum, and a 1x1x1 convolution back. The
    overcomplete path enlarges frames and sees detail; the undercomplete one shrinks them and sees far. Time is left as
    it is. The last convolution starts at zero, so that the block begins as the identity.

    The published code also resizes features of the one path into the other; here each has links within itself alone.

    Args:
        features: channels of the features.
        channels: inside, at the features' own resolution; each level has twice as many as the one before.
        over: levels of enlargement by two, 0 for no such path.
        under: levels of shrinking by two, 0 for no such path.

    Shape:
        ``[B, C, T, H, W]`` to what is to be added, of the same shape.

    Example:
        >>> import torch
        >>> OverUnder(16, channels=4)(torch.rand(1, 16, 4, 7, 7)).abs().max().item()
        0.0
    """

    def __init__(self, features: int, channels: int = 7, over: int = 3, under: int = 3) -> None:
        super().__init__()
        self.enter = nn.Conv3d(features, channels, 1, bias=False)
        self.over = Path(channels, over, enlarge=True) if over else None
        self.under = Path(channels, under, enlarge=False) if under else None
        self.leave = nn.Conv3d(channels, features, 1, bias=False)
        nn.init.zeros_(self.leave.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return what is to be added."""
        x = F.relu(self.enter(features))
        paths = [path(x) for path in (self.over, self.under) if path is not None]
        return self.leave(sum(paths[1:], paths[0]) if paths else x)


class Path(nn.Module):
    """An encoder-decoder over frames: convolution, change of size, ReLU at each level, linked across at equal sizes.

    Args:
        channels: at the outer end.
        levels: changes of size.
        enlarge: grow towards the middle by linear interpolation and shrink back by max-pooling, or the other way round.
    """

    def __init__(self, channels: int, levels: int, enlarge: bool) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(levels + 1)]
        self.enlarge = enlarge
        self.encode = nn.ModuleList(nn.Conv3d(a, b, 3, padding=1, bias=False) for a, b in pairwise(widths))
        self.decode = nn.ModuleList(nn.Conv3d(a, b, 3, padding=1, bias=False) for a, b in pairwise(widths[::-1]))

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the given shape."""
        sizes: list[tuple[int, int]] = []
        kept: list[Tensor] = []
        for conv in self.encode:
            height, width = x.shape[-2:]
            sizes.append((height, width))
            kept.append(x)
            grown = (2 * height, 2 * width) if self.enlarge else (-(-height // 2), -(-width // 2))
            x = F.relu(_resized(conv(x), grown))
        for conv in self.decode:
            x = F.relu(_resized(conv(x), sizes.pop()))
            outer = kept.pop()
            if kept:  # the outermost features are the block's own input
                x = x + outer
        return x


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Return frames of another size: interpolated to a larger one, pooled by the maximum to a smaller one."""
    if size == tuple(x.shape[-2:]):
        return x
    if size[0] > x.shape[-2] or size[1] > x.shape[-1]:
        return F.interpolate(x, (x.shape[2], *size), mode="trilinear", align_corners=False)
    return F.adaptive_max_pool3d(x, (x.shape[2], *size))

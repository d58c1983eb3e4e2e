"""Denoising of features by a weighted mean over places."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advvid.core.errors import AdvvidError


class NonLocal(nn.Module):
    """The non-local denoising block (Xie et al. 2019, sec. 4.1 and fig. 4 and 5): what it adds to features.

    Each place becomes the mean of all, weighted by likeness: ``softmax(theta(x_i) . phi(x_j) / sqrt(d))`` or the product
    itself over the number of places. A 1x1x1 convolution and a BatchNorm follow, whose weight starts at zero, so that the
    block begins as the identity.

    Args:
        channels: of the features.
        over: ``clip``: the places are those of all frames; ``frame``: each frame by itself.
        embed: compare after 1x1x1 convolutions to half the channels, rather than the features themselves.
        softmax: weights by softmax (Gaussian); false: by the product.
        frames: number of frames, to give each of them embeddings of its own; None for the same ones.

    Raises:
        AdvvidError: for features of another number of frames than the embeddings.

    Shape:
        ``[B, C, T, H, W]`` to what is to be added, of the same shape.

    Example:
        >>> NonLocal(16)(torch.rand(1, 16, 4, 7, 7)).abs().max().item()
        0.0
    """

    def __init__(
        self,
        channels: int,
        over: Literal["clip", "frame"] = "clip",
        embed: bool = True,
        softmax: bool = True,
        frames: int | None = None,
    ) -> None:
        super().__init__()
        self.over, self.softmax = over, softmax
        inner = max(1, channels // 2)
        self.theta = Embedding(channels, inner, frames) if embed else nn.Identity()
        self.phi = Embedding(channels, inner, frames) if embed else nn.Identity()
        self.out = nn.Conv3d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm3d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is to be added."""
        q, k, v = (self._places(part) for part in (self.theta(x), self.phi(x), x))
        mean = F.scaled_dot_product_attention(q, k, v) if self.softmax else q @ (k.transpose(-1, -2) @ v) / q.shape[-2]
        # Groups of places back to frames: one group of T x H x W places, or T groups of H x W.
        batch, channels, frames, height, width = x.shape
        mean = mean.reshape(batch, frames, height, width, channels).permute(0, 4, 1, 2, 3)
        return self.norm(self.out(mean))

    def _places(self, x: Tensor) -> Tensor:
        """Return features as ``[B, groups, places, C]``."""
        batch, channels, frames = x.shape[:3]
        listed = x.permute(0, 2, 3, 4, 1)
        return listed.reshape(batch, frames if self.over == "frame" else 1, -1, channels)


class Embedding(nn.Module):
    """A 1x1x1 convolution without bias, the same for all frames or one for each."""

    def __init__(self, channels: int, inner: int, frames: int | None) -> None:
        super().__init__()
        self.frames = frames
        self.weight = nn.Parameter(torch.empty(frames or 1, inner, channels))
        nn.init.normal_(self.weight, std=channels**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, T, H, W]`` to ``[B, C', T, H, W]``."""
        if self.frames is not None and x.shape[2] != self.frames:
            raise AdvvidError(
                f"this network has weights for each of {self.frames} frames of features but got {x.shape[2]}: keep the clips' "
                "length, or train with defense.frame_weights=shared"
            )
        if self.frames is None:
            return F.conv3d(x, self.weight[0][:, :, None, None, None])
        return torch.einsum("tdc,bcthw->bdthw", self.weight, x)

"""A small residual 3-D network for the embedded data: trains in seconds on two CPU cores."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from advvid.core.allowed import checked
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, Positive


@checked
class R3DTiny(nn.Module):
    """A stem that shrinks the frames by four, two residual blocks, global average pooling and a linear layer.

    Args:
        num_classes: number of logits, K.
        width: factor on the channels (16, 32, 64); with 10 classes and width 1 the network has 220,394 weights.

    Raises:
        AdvvidError: if ``width`` leaves no channel.

    Shape:
        clips ``[B, 3, T, H, W]``, normalised; logits ``[B, K]``. Any T; frames from 4 pixels a side upwards.

    Example:
        >>> R3DTiny(10)(torch.rand(2, 3, 8, 32, 32)).shape
        torch.Size([2, 10])
    """

    # The blocks of the stem are a layout of its own, so that another one before them would be a copy for nothing.
    own_layout: ClassVar[bool] = True

    def __init__(self, num_classes: Count, width: Positive = 1.0) -> None:
        super().__init__()
        first, second, third = (round(channels * width) for channels in (16, 32, 64))
        if first < 1:
            raise AdvvidError(f"model.width={width} leaves r3d_tiny without channels: choose at least 0.1")
        self.stem = nn.Sequential(
            BlockConv(first),
            nn.BatchNorm3d(first),
            nn.ReLU(inplace=True),
        )
        self.block1 = ResidualBlock(first, second, (1, 2, 2))
        self.block2 = ResidualBlock(second, third, (2, 2, 2))
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(third, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits ``[B, K]``."""
        features = self.block2(self.block1(self.stem(clips)))
        return self.fc(self.pool(features).flatten(1))


class BlockConv(nn.Module):
    """A 3x8x8 convolution with stride (1, 4, 4), computed on blocks of 4 x 4 pixels taken as channels.

    The gradient of a strided convolution with respect to three input channels is several times slower than the
    convolution itself, and attacks compute nothing else. On blocks it is an ordinary 3x2x2 convolution of 48 channels.
    """

    def __init__(self, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(48, channels_out, (3, 2, 2), padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, 3, T, H, W]`` to ``[B, C, T, ceil(H / 4), ceil(W / 4)]``; each output sees its block and the one before."""
        if x.shape[-1] % 4 or x.shape[-2] % 4:  # padding by nothing copies all the same
            x = functional.pad(x, (0, -x.shape[-1] % 4, 0, -x.shape[-2] % 4))
        batch, channels, frames, height, width = x.shape
        blocks = x.reshape(batch, channels, frames, height // 4, 4, width // 4, 4).permute(0, 2, 3, 5, 1, 4, 6)
        # The channels end up last in memory, which is the layout that the convolution wants.
        blocks = blocks.reshape(batch, frames, height // 4, width // 4, 16 * channels).permute(0, 4, 1, 2, 3)
        return self.conv(blocks)[..., : height // 4, : width // 4]


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions beside a 1x1x1 one that matches channels and stride."""

    def __init__(self, channels_in: int, channels_out: int, stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(channels_out)
        self.conv2 = nn.Conv3d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(channels_out)
        self.shortcut = nn.Sequential(
            nn.Conv3d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm3d(channels_out)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C_in, T, H, W]`` to ``[B, C_out, T', H', W']``, divided by the stride and rounded up."""
        inner = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))

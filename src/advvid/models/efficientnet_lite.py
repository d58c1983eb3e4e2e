"""EfficientNet-Lite0, whose ImageNet weights come as a package of 17 MB: features of single frames."""

from __future__ import annotations

import math
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

# Stages: repeats, kernel, stride of the first block, expansion, channels (Tan & Le 2019, table 1).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, FEATURES = 32, 1280


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 (Tan & Le 2019, B0 without squeeze-and-excitation, ReLU6 for swish) without its last layer.

    The published weights are TensorFlow's, so padding is TensorFlow's ``SAME`` and BatchNorm's epsilon 0.001. They want
    pixels scaled to [-1, 1]: ``mean=0.5`` and ``std=0.5``.

    Shape:
        images ``[N, 3, H, W]``, normalised; features ``[N, 1280]``. Published for 224 pixels a side; any from 32 upwards.

    Example:
        >>> import torch
        >>> EfficientNetLite0().eval()(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 1280])
    """

    # The package's file puts a line before every name; its last layer, for ImageNet's 1,000 classes, has no place here.
    OTHER_NAMES: ClassVar = ((r"^_fc\..*", ""), (r"(^|\.)_", r"\1"))

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = SameConv(3, STEM, 3, 2)
        self.bn0 = _norm(STEM)
        blocks, before = [], STEM
        for repeats, kernel, stride, expansion, channels in STAGES:
            for number in range(repeats):
                blocks.append(Block(before, channels, kernel, 1 if number else stride, expansion))
                before = channels
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = SameConv(before, FEATURES, 1)
        self.bn1 = _norm(FEATURES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``[N, 1280]``, averaged over the image."""
        x = self.blocks(F.relu6(self.bn0(self.conv_stem(images))))
        return F.relu6(self.bn1(self.conv_head(x))).mean(dim=(2, 3))


class Block(nn.Module):
    """An inverted bottleneck (Sandler et al. 2018): widen, filter each channel by itself, narrow; added to its input.

    Shape:
        ``[N, before, H, W]`` to ``[N, channels, H / stride, W / stride]``, rounded up.
    """

    def __init__(self, before: int, channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.expand_conv = SameConv(before, wide, 1) if expansion > 1 else nn.Identity()
        self.bn0 = _norm(wide) if expansion > 1 else nn.Identity()
        self.depthwise_conv = SameConv(wide, wide, kernel, stride, groups=wide)
        self.bn1 = _norm(wide)
        self.project_conv = SameConv(wide, channels, 1)
        self.bn2 = _norm(channels)
        self.widens, self.adds = expansion > 1, stride == 1 and before == channels

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        wide = F.relu6(self.bn0(self.expand_conv(x))) if self.widens else x
        narrow = self.bn2(self.project_conv(F.relu6(self.bn1(self.depthwise_conv(wide)))))
        return x + narrow if self.adds else narrow


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's ``SAME``: what is odd goes to the right and the bottom."""

    def __init__(self, before: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = (kernel - 1) // 2 if stride == 1 else 0
        super().__init__(before, channels, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the filtered image."""
        if self.stride[0] > 1:
            (top, bottom), (left, right) = (self._lacking(side) for side in x.shape[-2:])
            x = F.pad(x, (left, right, top, bottom))
        return super().forward(x)

    def _lacking(self, side: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        lacking = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        return lacking // 2, lacking - lacking // 2


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)

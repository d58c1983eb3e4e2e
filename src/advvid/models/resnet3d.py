"""The 3-D residual networks of Hara et al.: ResNet, Wide ResNet and ResNeXt over whole clips."""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from advvid.core.allowed import checked
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, Positive

# Blocks per stage; up to 34 layers of two 3x3x3 convolutions each, from 50 on bottlenecks.
BLOCKS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
BASIC = (10, 18, 34)
# Channels inside the blocks of the first stage (doubled at each further one), and how many times more leave a block.
FAMILIES = {"resnet": (64, 4), "wide": (128, 2), "resnext": (128, 2)}
# How a block passes on features of another shape: padded with zeros, or through a convolution.
Shortcut = Literal["A", "B"]
STEM = 64


@checked
class ResNet3D(nn.Module):
    """A 7x7x7 stem, four stages of residual blocks, global average pooling and a linear layer.

    Hara, Kataoka & Satoh, "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?", CVPR 2018,
    section 3.2 and table 1. Layers are named as in the published files of weights (``conv1``, ``bn1``,
    ``layer1.0.conv1``, ``layer1.0.downsample.0``, ``fc``), so that these load as they are.

    Args:
        num_classes: number of logits, K.
        depth: 10, 18, 34, 50, 101 or 152 layers; ``wide`` and ``resnext`` from 50 on.
        family: ``resnet``; ``wide``, whose bottlenecks have twice the inner channels; or ``resnext``, which splits
            the same channels into groups.
        shortcut: how a block's input is matched to more channels: ``A`` pads it with zeros, ``B`` convolves it.
        cardinality: number of groups of ResNeXt.
        time_stride: the stem's step in time; 2 in the weights that were published in 2020 for 32 frames or more.
        width: factor on all channels, for runs at small scale.

    Raises:
        AdvvidError: if the options name no such network, or ``width`` leaves no channel.

    Shape:
        clips ``[B, 3, T, H, W]``, normalised; logits ``[B, K]``. Any T, H and W; published for 16 or 64 x 112 x 112.

    Example:
        >>> ResNet3D(101, depth=101, family="resnext")(torch.rand(1, 3, 16, 112, 112)).shape
        torch.Size([1, 101])
    """

    def __init__(
        self,
        num_classes: Count,
        depth: Literal[10, 18, 34, 50, 101, 152] = 18,
        family: Literal["resnet", "wide", "resnext"] = "resnet",
        shortcut: Shortcut = "B",
        cardinality: Count = 32,
        time_stride: Count = 1,
        width: Positive = 1.0,
    ) -> None:
        super().__init__()
        _check(depth, family, width)
        first, expansion = FAMILIES[family]
        stem, first = round(STEM * width), round(first * width)
        groups = cardinality if family == "resnext" else 1
        self.conv1 = nn.Conv3d(3, stem, 7, stride=(time_stride, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        channels = stem
        for stage, blocks in enumerate(BLOCKS[depth]):
            inner, stride = first * 2**stage, 1 if stage == 0 else 2
            layers: list[nn.Module] = []
            for block in range(blocks):
                step = stride if block == 0 else 1
                if depth in BASIC:
                    layers.append(BasicBlock(channels, inner, step, shortcut))
                    channels = inner
                else:
                    layers.append(Bottleneck(channels, inner, inner * expansion, step, shortcut, groups))
                    channels = inner * expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(channels, num_classes)
        self._start_small()

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits ``[B, K]``."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(clips))))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(x.mean(dim=(2, 3, 4)))

    def _start_small(self) -> None:
        """Set the first weights so that logits are small even before BatchNorm has statistics of its own.

        Otherwise every block doubles the signal in evaluation mode, and pixels up to 255 come on top: the softmax is
        saturated and an attack on a network of a few steps finds no gradient.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock | Bottleneck):
                last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
                nn.init.constant_(last.weight, 0.2)
        nn.init.normal_(self.fc.weight, std=1e-3)
        nn.init.zeros_(self.fc.bias)


class BasicBlock(nn.Module):
    """Two 3x3x3 convolutions beside a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(channels_out)
        self.conv2 = nn.Conv3d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels_in, channels_out, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C_in, T, H, W]`` to ``[B, C_out, T', H', W']``, divided by the stride and rounded up."""
        inner = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(inner)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1x1, 3x3x3 (in groups for ResNeXt) and 1x1x1 convolutions beside a shortcut."""

    def __init__(
        self, channels_in: int, inner: int, channels_out: int, stride: int, shortcut: Shortcut, groups: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels_in, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(inner)
        # A small width can leave fewer channels than groups.
        self.conv2 = nn.Conv3d(inner, inner, 3, stride=stride, padding=1, groups=math.gcd(groups, inner), bias=False)
        self.bn2 = nn.BatchNorm3d(inner)
        self.conv3 = nn.Conv3d(inner, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels_in, channels_out, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C_in, T, H, W]`` to ``[B, C_out, T', H', W']``, divided by the stride and rounded up."""
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        return self.relu(self.bn3(self.conv3(inner)) + self.downsample(x))


class PaddedShortcut(nn.Module):
    """Shortcut A: every ``stride``-th position, and zeros for the channels that are missing. It has no weights.

    Gradients flow through it. The code that the published weights were trained with cut them off here, which would
    hide part of the network from an attack.
    """

    def __init__(self, stride: int, missing: int) -> None:
        super().__init__()
        self.stride, self.missing = stride, missing

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, T, H, W]`` to ``[B, C + missing, T', H', W']``."""
        kept = x[:, :, :: self.stride, :: self.stride, :: self.stride]
        return F.pad(kept, (0, 0, 0, 0, 0, 0, 0, self.missing))


def _shortcut(channels_in: int, channels_out: int, stride: int, kind: Shortcut) -> nn.Module:
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    if kind == "A":
        return PaddedShortcut(stride, channels_out - channels_in)
    return nn.Sequential(
        nn.Conv3d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm3d(channels_out)
    )


def _check(depth: int, family: str, width: float) -> None:
    if family != "resnet" and depth in BASIC:
        raise AdvvidError(f"model.net.depth={depth} is not known for family={family}: choose 50, 101 or 152")
    if round(STEM * width) < 1:
        raise AdvvidError(f"model.width={width} leaves the network without channels: choose at least 0.02")

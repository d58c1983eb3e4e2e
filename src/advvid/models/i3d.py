"""I3D: Inception-v1 with its 2-D convolutions inflated to three dimensions."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from advvid.core.allowed import checked
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, Positive

Triple = tuple[int, int, int]

# Channels of each Inception module: 1x1x1; 1x1x1 then 3x3x3; 1x1x1 then 3x3x3; 1x1x1 after the pooling.
MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Poolings by the module that follows them: name, window and stride.
POOLS: dict[str, tuple[str, Triple, Triple]] = {
    "Mixed_3b": ("MaxPool3d_3a_3x3", (1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ("MaxPool3d_4a_3x3", (3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ("MaxPool3d_5a_2x2", (2, 2, 2), (2, 2, 2)),
}
STEM = (64, 64, 192)


@checked
class I3D(nn.Module):
    """Three convolutions and nine Inception modules, BatchNorm after every convolution, logits averaged over time.

    Carreira & Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", CVPR 2017, figure 3.
    Layers are named as in the widely used PyTorch port of the published weights (``Conv3d_1a_7x7.conv3d.weight``,
    ``Mixed_3b.b1a.bn.weight``, ``logits.conv3d.bias``), so that these load as they are. Convolutions and poolings are
    padded as TensorFlow's SAME does, which those weights were trained with.

    Args:
        num_classes: number of logits, K.
        width: factor on all channels, for runs at small scale.
        dropout: share of the features left out in training.

    Raises:
        AdvvidError: if ``width`` leaves a branch without channels.

    Shape:
        clips ``[B, 3, T, H, W]``, normalised to [-1, 1]; logits ``[B, K]``. Any T, H and W; published for 64 x 224 x
        224. At 224 pixels the last average is over 2 x 7 x 7 features; at other sizes, over 2 x whatever is left.

    Example:
        >>> I3D(101)(torch.rand(1, 3, 40, 224, 224)).shape
        torch.Size([1, 101])
    """

    def __init__(
        self, num_classes: Count, width: Positive = 1.0, dropout: Annotated[float, Ge(0), Lt(1)] = 0.5
    ) -> None:
        super().__init__()
        if round(min(min(channels) for channels in MIXED.values()) * width) < 1:
            raise AdvvidError(f"model.width={width} leaves branches of I3D without channels: choose at least 0.04")
        first, second, third = (round(channels * width) for channels in STEM)
        parts: list[tuple[str, nn.Module]] = [
            ("Conv3d_1a_7x7", Unit(3, first, (7, 7, 7), (2, 2, 2))),
            ("MaxPool3d_2a_3x3", SamePool((1, 3, 3), (1, 2, 2))),
            ("Conv3d_2b_1x1", Unit(first, second)),
            ("Conv3d_2c_3x3", Unit(second, third, (3, 3, 3))),
        ]
        channels = third
        for name, published in MIXED.items():
            if name in POOLS:
                pool, window, stride = POOLS[name]
                parts.append((pool, SamePool(window, stride)))
            module = Mixed(channels, [round(c * width) for c in published])
            parts.append((name, module))
            channels = module.channels_out
        self.order = [name for name, _ in parts]
        for name, part in parts:
            self.add_module(name, part)
        self.dropout = nn.Dropout(dropout)
        self.logits = Unit(channels, num_classes, plain=True)
        # Features of one size from layer to layer, even in evaluation mode before BatchNorm has statistics.
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.normal_(self.logits.conv3d.weight, std=0.01)

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits ``[B, K]``."""
        x = clips
        for name in self.order:
            x = self.get_submodule(name)(x)
        frames, height, width = x.shape[2:]
        x = F.avg_pool3d(x, (min(2, frames), height, width), stride=1)
        return self.logits(self.dropout(x)).mean(dim=(2, 3, 4))


class Unit(nn.Module):
    """A convolution with SAME padding, BatchNorm and ReLU; ``plain``: the convolution alone, with a bias."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        window: Triple = (1, 1, 1),
        stride: Triple = (1, 1, 1),
        plain: bool = False,
    ) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels_in, channels_out, window, stride, bias=plain)
        if not plain:
            self.bn = nn.BatchNorm3d(channels_out, eps=1e-3, momentum=0.01)
        self.window, self.stride, self.plain = window, stride, plain

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C_in, T, H, W]`` to ``[B, C_out, T', H', W']``, divided by the stride and rounded up."""
        x = self.conv3d(pad_same(x, self.window, self.stride))
        return x if self.plain else F.relu(self.bn(x), inplace=True)


class SamePool(nn.Module):
    """Max pooling with SAME padding. It follows a ReLU, so that zeros in the padding never win."""

    def __init__(self, window: Triple, stride: Triple) -> None:
        super().__init__()
        self.window, self.stride = window, stride

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, T, H, W]`` to ``[B, C, T', H', W']``, divided by the stride and rounded up."""
        return F.max_pool3d(pad_same(x, self.window, self.stride), self.window, self.stride)


class Mixed(nn.Module):
    """An Inception module: four branches side by side, of which the last starts with a pooling."""

    def __init__(self, channels_in: int, channels: list[int]) -> None:
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = channels
        self.b0 = Unit(channels_in, b0)
        self.b1a = Unit(channels_in, b1a)
        self.b1b = Unit(b1a, b1b, (3, 3, 3))
        self.b2a = Unit(channels_in, b2a)
        self.b2b = Unit(b2a, b2b, (3, 3, 3))
        self.b3a = SamePool((3, 3, 3), (1, 1, 1))
        self.b3b = Unit(channels_in, b3b)
        self.channels_out = b0 + b1b + b2b + b3b

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C_in, T, H, W]`` to ``[B, C_out, T, H, W]``."""
        branches = (self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x)))
        return torch.cat(branches, dim=1)


def pad_same(x: Tensor, window: Triple, stride: Triple) -> Tensor:
    """Pad with zeros so that the result has ``ceil(side / stride)`` positions; the odd one goes to the end.

    Shape:
        ``[B, C, T, H, W]`` to the same with longer sides.
    """
    pads: list[int] = []
    for side, reach, step in reversed(list(zip(x.shape[2:], window, stride, strict=True))):
        missing = max((-(-side // step) - 1) * step + reach - side, 0)
        pads += [missing // 2, missing - missing // 2]
    return F.pad(x, pads) if any(pads) else x

"""ResNet-18 for small images."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from advvid.core.allowed import checked
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, Positive


@checked
class ResNet18(nn.Module):
    """ResNet-18 as used on CIFAR-10 (He et al. 2016, basic blocks; Lo & Patel's slides, CIFAR-10).

    Its stem is a 3x3 convolution of stride 1 without max-pooling, so that images of 32 pixels keep their detail; four
    stages of two basic blocks with 64, 128, 256 and 512 channels follow. Names of weights are torchvision's.

    Args:
        num_classes: number of logits, K.
        width: factor on the channels.

    Raises:
        AdvvidError: if ``width`` leaves no channel.

    Shape:
        images ``[N, 3, H, W]``, normalised; logits ``[N, K]``. Frames from 8 pixels a side upwards.

    Example:
        >>> import torch
        >>> ResNet18(10, width=0.25)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: Count, width: Positive = 1.0) -> None:
        super().__init__()
        stages = [round(channels * width) for channels in (64, 128, 256, 512)]
        if stages[0] < 1:
            raise AdvvidError(f"model.width={width} leaves resnet18_2d without channels: choose at least 0.02")
        self.conv1 = nn.Conv2d(3, stages[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stages[0])
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(stages[0], stages[0], 1)
        self.layer2 = _stage(stages[0], stages[1], 2)
        self.layer3 = _stage(stages[1], stages[2], 2)
        self.layer4 = _stage(stages[2], stages[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(stages[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``[N, K]``."""
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def _stage(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or channels_in != channels_out:
        shortcut = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
        )
    return nn.Sequential(
        BasicBlock(channels_in, channels_out, stride, shortcut), BasicBlock(channels_out, channels_out)
    )

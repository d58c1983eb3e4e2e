"""CNN features of every frame, read in order by a vanilla RNN, an LSTM or a GRU, or one by one."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torchvision import models

from advvid.core.allowed import checked
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, Positive
from advvid.models.efficientnet_lite import FEATURES, EfficientNetLite0
from advvid.models.inception_v3 import InceptionV3
from advvid.models.per_frame import channels_last, on_frames

CELLS: dict[str, type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}

Backbone = Literal["small", "resnet18", "inception_v3", "efficientnet_lite0"]


@checked
class CNNRecurrent(nn.Module):
    """CNN + vanilla RNN, LSTM or GRU (Donahue et al. 2015; Mu et al., DeepSAVA, sec. 4.2.7; Jia et al., table 3).

    The papers take features of Inception-v3 and train the recurrent part on them: ``backbone=inception_v3`` with
    ``train_backbone=False``. Attacks pass through the CNN to the pixels either way. Trained against attacks is the CNN by
    itself (``cell=none``), on whose features a recurrent part then learns (DeepSAVA, sec. 4.3).

    Args:
        num_classes: number of logits, K.
        cell: ``rnn`` (tanh), ``lstm``, ``gru``, or ``none``: each frame is classified by itself and the logits averaged.
        backbone: ``small`` (three strided convolutions and a linear layer, for frames from 8 pixels a side upwards),
            torchvision's ``resnet18`` or ``inception_v3`` (75 pixels upwards) or ``efficientnet_lite0``, without last layers.
        hidden: size of the recurrent state.
        layers: recurrent layers.
        bidirectional: read the frames in both orders.
        readout: classify the ``last`` state, or the ``mean`` of all states.
        train_backbone: False keeps the CNN as it is, BatchNorm statistics included.
        width: factor on the channels of ``small``; the other backbones have one width.

    Raises:
        AdvvidError: if a setting is impossible.

    Shape:
        clips ``[B, 3, T, H, W]``, normalised; logits ``[B, K]``. Any T.

    Example:
        >>> CNNRecurrent(10, "gru")(torch.rand(2, 3, 8, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: Count,
        cell: Literal["rnn", "lstm", "gru", "none"] = "lstm",
        backbone: Backbone = "small",
        hidden: Count = 128,
        layers: Count = 1,
        bidirectional: bool = False,
        readout: Literal["last", "mean"] = "last",
        train_backbone: bool = True,
        width: Positive = 1.0,
    ) -> None:
        super().__init__()
        # Below the name that files of torchvision's weights are matched with.
        net, features = _backbone(backbone, width)
        self.net = channels_last(net)
        self.rnn: nn.RNN | nn.LSTM | nn.GRU | None = None
        if cell == "none":
            hidden, bidirectional, readout = features, False, "mean"
        else:
            self.rnn = CELLS[cell](features, hidden, layers, batch_first=True, bidirectional=bidirectional)
        self.fc = nn.Linear(hidden * (2 if bidirectional else 1), num_classes)
        self.hidden, self.bidirectional, self.readout = hidden, bidirectional, readout
        self.train_backbone = train_backbone
        self.net.requires_grad_(train_backbone)

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits ``[B, K]``."""
        return self.fc(self._read(self._states(on_frames(self.net, clips))))

    def per_frame(self, clips: Tensor) -> Tensor:
        """Return the logits of every frame with the recurrent links cut: each is read from the zero state.

        Jia et al., *Detecting by temporal consistency*: the removed links keep a frame's answer free of its neighbours.

        Shape:
            clips: ``[B, 3, T, H, W]``; result: ``[B, T, K]``.
        """
        features = on_frames(self.net, clips)
        alone = self._states(features.flatten(0, 1).unsqueeze(1))
        return self.fc(self._read(alone)).unflatten(0, features.shape[:2])

    def train(self, mode: bool = True) -> CNNRecurrent:
        """Switch training mode; a CNN that is not trained stays in eval mode."""
        super().train(mode)
        if not self.train_backbone:
            self.net.eval()
        return self

    def _states(self, features: Tensor) -> Tensor:
        """Return the states of the last layer after each frame, ``[B, T, hidden]`` (twice as many in both directions)."""
        if self.rnn is None:
            return features.to(self.fc.weight.dtype)
        # cuDNN refuses to go backwards through an RNN in evaluation mode, which is what attacks do; PyTorch's own
        # kernels do not. The recurrent part is small, so it computes in its weights' own precision.
        device = features.device.type
        autocast = torch.amp.is_autocast_available(device)  # not for tensors without data
        with torch.backends.cudnn.flags(enabled=False), torch.autocast(device if autocast else "cpu", enabled=False):
            states: Tensor = self.rnn(features.to(self.fc.weight.dtype))[0]
        return states

    def _read(self, states: Tensor) -> Tensor:
        if self.readout == "mean":
            return states.mean(dim=1)
        if not self.bidirectional:
            return states[:, -1]
        # Each direction's last state: the backward one has read everything at the first frame.
        return torch.cat([states[:, -1, : self.hidden], states[:, 0, self.hidden :]], dim=1)


class SmallCNN(nn.Module):
    """Three strided convolutions, a grid of 4 x 4 places kept apart, and a linear layer.

    A global average would hide where things are in a frame, and with it all motion.

    Shape:
        images ``[N, 3, H, W]``; features ``[N, features]``.
    """

    def __init__(self, channels: tuple[int, int, int], features: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for before, after in zip((3, *channels), channels, strict=False):
            blocks += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.project = nn.Sequential(nn.Linear(16 * channels[-1], features), nn.ReLU(inplace=True))

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``[N, features]``."""
        return self.project(self.body(images))


def _backbone(name: Backbone, width: float) -> tuple[nn.Module, int]:
    """Return a CNN without its last layer, and the number of its features."""
    if name == "small":
        first, second, third, features = (round(size * width) for size in (16, 32, 64, 128))
        if first < 1:
            raise AdvvidError(f"model.width={width} leaves the CNN without channels: choose at least 0.1")
        return SmallCNN((first, second, third), features), features
    if width != 1:
        raise AdvvidError(f"model.width={width} is for backbone=small: {name} has one width, so leave it at 1")
    if name == "efficientnet_lite0":
        return EfficientNetLite0(), FEATURES
    if name == "resnet18":
        net: models.ResNet | InceptionV3 = models.resnet18(weights=None)
    else:
        net = InceptionV3(1)
    features = net.fc.in_features
    net.fc = nn.Identity()
    return net, features

"""Networks that see single frames, and the outputs per frame that detectors read."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from advvid.core.errors import AdvvidError
from advvid.models.classifier import VideoClassifier
from advvid.models.resample import resize_frames


@runtime_checkable
class PerFrame(Protocol):
    """A network whose answer to every frame by itself can be read.

    Jia et al. compare neighbouring frames' answers to find sparse attacks, with the links between the steps of a
    recurrent network cut (section on detection, before eq. 1).
    """

    def per_frame(self, clips: Tensor) -> Tensor:
        """Return the logits of every frame, each classified as if it were a clip of its own.

        Shape:
            clips: ``[B, 3, T, H, W]``; result: ``[B, T, K]``.
        """


class FrameAverage(nn.Module):
    """An image network on every frame; a clip's logits are the mean over its frames (Karpathy et al. 2014, single frame).

    Args:
        net: maps images ``[N, 3, H, W]`` to logits ``[N, K]``.

    Shape:
        clips ``[B, 3, T, H, W]``, normalised; logits ``[B, K]``.

    Example:
        >>> net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))
        >>> FrameAverage(net).per_frame(torch.rand(2, 3, 8, 32, 32)).shape
        torch.Size([2, 8, 10])
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = channels_last(net)

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits ``[B, K]``."""
        return self.per_frame(clips).mean(dim=1)

    def per_frame(self, clips: Tensor) -> Tensor:
        """Return the logits of every frame, ``[B, T, K]``."""
        return on_frames(self.net, clips)


class FrameClassifier(VideoClassifier):
    """A video classifier whose answer to every frame can be read as well; see ``VideoClassifier`` for its arguments.

    Example:
        >>> model = build_model(cfg.model, 10, (3, 8, 32, 32))   # doctest: +SKIP
        >>> model.per_frame(clips).argmax(dim=2)                 # doctest: +SKIP
    """

    def per_frame(self, clips: Tensor) -> Tensor:
        """Return the logits of every frame of the clips, whatever number of frames the network wants.

        Shape:
            clips: ``[B, 3, T, H, W]`` in [0, 1], one or several views; result: ``[B, T, K]``.

        Raises:
            AdvvidError: if the network cannot read single frames.
        """
        if not isinstance(self.net, PerFrame):
            raise AdvvidError(
                f"{type(self.net).__name__} gives no output per frame: choose a model that sees single frames, such as "
                "cnn_lstm or inception_v3"
            )
        x = clips if self.size is None else resize_frames(clips, self.size)
        return self.net.per_frame((x - self.mean) / self.std)


def on_frames(net: nn.Module, clips: Tensor) -> Tensor:
    """Apply an image network to every frame.

    Shape:
        clips: ``[B, C, T, H, W]``; result: ``[B, T, ...]`` for a network from ``[N, C, H, W]`` to ``[N, ...]``.
    """
    batch, _, frames = clips.shape[:3]
    images = clips.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return net(images).unflatten(0, (batch, frames))


def channels_last(net: nn.Module) -> nn.Module:
    """Lay an image network's weights out as ``on_frames`` lays its images out: a third faster on most hardware."""
    return net.to(memory_format=torch.channels_last)

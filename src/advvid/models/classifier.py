"""The one interface of all video classifiers: clips in [0, 1] to logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from advvid.core.allowed import checked
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, FilePath, Positive
from advvid.models.fit import check_logits
from advvid.models.freeze import freeze as freeze_parts
from advvid.models.freeze import rest_frozen
from advvid.models.pooling import fit_pools
from advvid.models.resample import resample_frames, resize_frames
from advvid.models.weights import load_local_weights


@checked
class VideoClassifier(nn.Module):
    """A network with everything that stands between clips in [0, 1] and what the network takes.

    Splitting into views, choice of frames, resizing and normalisation all lie inside, so that gradients flow through
    exactly what is scored. The state dict holds the network's own weights only, below ``net.``.

    Args:
        net: maps normalised clips ``[B, 3, T, H, W]`` to logits ``[B, K]``.
        num_classes: number of logits, K.
        mean: subtracted from every pixel, one number or one per channel, for pixels in [0, 1].
        std: what the difference is divided by, likewise.
        clip_shape: ``(3, T, H, W)`` of the data's clips, for the network's own node to refer to; None for unknown.
        size: side, or (height, width), of the frames the network wants; None for the clips' own.
        frames: number of frames the network wants; None for the clips' own.
        views: the time axis holds this many clips of a video, one after the other; their logits are averaged.
        channels_last: keep weights and clips in ``torch.channels_last_3d``, which is faster on most hardware; a network whose
            class says ``own_layout`` is handed the clips as they are.
        fit_pool: let the pooling window of the head shrink to clips smaller than the published ones.
        checkpoint: a local file of weights, see ``load_local_weights``.
        freeze: what is not trained, see ``advvid.models.freeze.freeze``; wholly frozen parts stay in eval mode.
        width: factor on the network's channels, kept for the record: the network's own node refers to it.

    Raises:
        AdvvidError: if a setting is impossible, a frozen name is unknown, or the weights do not fit.

    Shape:
        clips ``[B, 3, views * T, H, W]`` in [0, 1]; logits ``[B, K]``.

    Example:
        >>> model = VideoClassifier(R3DTiny(10), 10, mean=0.45, std=0.225)
        >>> model(torch.rand(2, 3, 8, 32, 32)).shape
        torch.Size([2, 10])
    """

    output: ClassVar[str] = "logits"

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        num_classes: Count,
        mean: float | tuple[float] | tuple[float, float, float],
        std: Positive | tuple[Positive] | tuple[Positive, Positive, Positive],
        clip_shape: Sequence[Count] | None = None,
        size: Count | tuple[Count, Count] | None = None,
        frames: Count | None = None,
        views: Count = 1,
        channels_last: bool = False,
        fit_pool: bool = False,
        checkpoint: FilePath | None = None,
        freeze: str | Sequence[str] | None = None,
        width: Positive = 1.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.views, self.frames, self.width = num_classes, views, frames, width
        self.clip_shape = None if clip_shape is None else tuple(clip_shape)
        self.size = _pair(size)
        self.channels_last = channels_last
        # Not persistent: constants of the configuration have no place among the weights.
        self.register_buffer("mean", _per_channel(mean), persistent=False)
        self.register_buffer("std", _per_channel(std), persistent=False)
        if fit_pool:
            fit_pools(net)
        if channels_last:
            net = net.to(memory_format=torch.channels_last_3d)
        if checkpoint is not None:
            load_local_weights(net, checkpoint)
        freeze_parts(net, freeze)
        self.frozen = freeze is not None
        self.net = net

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits ``[B, K]``.

        Raises:
            AdvvidError: if the clips are not ``[B, 3, T, H, W]`` or their frames are not a multiple of the views.
        """
        # Training clips hold one view, test clips all of them: the length tells.
        one = self.clip_shape is not None and clips.ndim == 5 and clips.shape[2] == self.clip_shape[1]
        views = 1 if one else self.views
        if clips.ndim != 5 or clips.shape[2] % views:
            raise AdvvidError(
                f"the model takes clips [B, 3, T, H, W] with T a multiple of {views} view(s), not {list(clips.shape)}"
            )
        batch = len(clips)
        x = clips
        if views > 1:
            x = x.unflatten(2, (views, -1)).transpose(1, 2).flatten(0, 1)
        if self.frames is not None:
            x = resample_frames(x, self.frames)
        if self.size is not None:
            x = resize_frames(x, self.size)
        x = (x - self.mean).div_(self.std)  # where it stands: nobody else holds the difference
        if self.channels_last and not getattr(self.net, "own_layout", False):
            x = x.contiguous(memory_format=torch.channels_last_3d)
        logits = self.net(x)
        return logits if views == 1 else logits.unflatten(0, (batch, views)).mean(dim=1)

    def check(self, clip_shape: Sequence[int]) -> None:
        """Make sure that the network gives one row of logits per clip of this shape; see ``advvid.models.fit.RunModel``.

        Raises:
            AdvvidError: if it cannot take such clips, with the options to change.
        """
        if len(clip_shape) != 4:
            raise AdvvidError(
                f"the model takes clips of pixels, but the data's inputs are {' x '.join(map(str, clip_shape))}: choose "
                "model=feature_transformer for features"
            )
        channels, frames, height, width = clip_shape
        try:
            check_logits(self, (2, channels, self.views * frames, height, width), self.num_classes)
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            sees = (self.frames or frames, *(self.size or (height, width)))
            raise AdvvidError(
                f"the network cannot take clips of {' x '.join(map(str, sees))} (frames x height x width): set "
                "model.frames and model.size, or dataset.frames and dataset.size, to what it was made for "
                f"({reason})"
            ) from error

    def train(self, mode: bool = True) -> VideoClassifier:
        """Switch training mode; wholly frozen parts stay in eval mode."""
        super().train(mode)
        if self.frozen:
            rest_frozen(self.net)
        return self


def _pair(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _per_channel(value: float | Sequence[float]) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float32).reshape(1, -1, 1, 1, 1)

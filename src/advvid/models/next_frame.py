"""A next-frame predictor: CNN encoder, ConvLSTM, CNN decoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional as F

from advvid.core.allowed import checked
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, FilePath, Odd, Positive, Whole
from advvid.models.fit import give_shape
from advvid.models.weights import load_local_weights

SHRINK = 4  # by the two strided convolutions of the encoder


@checked
class NextFramePredictor(nn.Module):
    """Predicts every frame's next one (Mu et al., DeepSAVA, app. C; Shi et al. 2015, ConvLSTM).

    A CNN extracts the features of each frame at a quarter of its side, a ConvLSTM carries them through time, and a CNN
    turns each state into the next frame. Clips have the data's own range and size: nothing is normalised or resized, so
    that prediction and target are compared as they are.

    Args:
        channels: of the frames, 1 or 3; None for those of ``clip_shape``.
        width: factor on the 64 channels of encoder and state.
        kernel: side of the ConvLSTM's kernels, odd.
        layers: ConvLSTM layers.
        clip_shape: ``(C, T, H, W)`` of the data's clips.
        num_classes: taken for uniformity; frames have no classes.
        views: must be 1.
        checkpoint: a local file of weights, see ``load_local_weights``.

    Raises:
        AdvvidError: if a setting is impossible, or the weights do not fit.

    Shape:
        clips ``[B, C, T, H, W]`` in [0, 1]; prediction of the same shape, about in the same range: frame t is the guess
        at frame ``t + 1`` from frames ``1 ... t``. Any T, H and W.

    Example:
        >>> NextFramePredictor(channels=1, width=0.25)(torch.rand(2, 1, 10, 64, 64)).shape
        torch.Size([2, 1, 10, 64, 64])
    """

    output: ClassVar[str] = "frames"

    def __init__(
        self,
        channels: Literal[1, 3] | None = None,
        width: Positive = 1.0,
        kernel: Annotated[int, Ge(1), Odd()] = 5,
        layers: Count = 1,
        clip_shape: Sequence[Count] | None = None,
        num_classes: Whole = 0,
        views: Count = 1,
        checkpoint: FilePath | Path | None = None,
    ) -> None:
        super().__init__()
        self.hidden = round(64 * width)
        wide: int = channels or (1 if clip_shape is None else clip_shape[0])
        if wide not in (1, 3) or self.hidden < 2:
            raise AdvvidError(f"model.channels={wide} must be 1 or 3, and model.width={width} at least 0.05")
        if views != 1:
            raise AdvvidError("next_frame predicts one clip per video: leave dataset.test_clips=1")
        self.channels, self.views, self.num_classes, self.width = wide, views, num_classes, width
        self.clip_shape = None if clip_shape is None else tuple(clip_shape)
        half = self.hidden // 2
        self.encoder = nn.Sequential(
            nn.Conv2d(wide, half, 5, 2, 2), nn.LeakyReLU(0.1), nn.Conv2d(half, self.hidden, 3, 2, 1), nn.LeakyReLU(0.1)
        )
        self.cells = nn.ModuleList(ConvLSTMCell(self.hidden, self.hidden, kernel) for _ in range(layers))
        self.decoder = nn.Sequential(
            nn.Conv2d(self.hidden, 4 * half, 3, 1, 1),
            nn.PixelShuffle(2),
            nn.LeakyReLU(0.1),
            nn.Conv2d(half, 4 * wide, 3, 1, 1),
            nn.PixelShuffle(2),
        )
        if checkpoint is not None:
            load_local_weights(self, checkpoint)

    def check(self, clip_shape: Sequence[int]) -> None:
        """Make sure that the clips' shape is that of their prediction; see ``advvid.models.fit.RunModel``.

        Raises:
            AdvvidError: if the data's inputs are no clips of as many channels.
        """
        given = give_shape(self, (2, *clip_shape))
        assert given == (2, *clip_shape), f"the prediction has the shape {given}"

    def forward(self, clips: Tensor) -> Tensor:
        """Return the predicted frames, ``[B, C, T, H, W]``.

        Raises:
            AdvvidError: if the clips have another number of channels.
        """
        if clips.ndim != 5 or clips.shape[1] != self.channels:
            raise AdvvidError(
                f"the predictor takes clips [B, {self.channels}, T, H, W], not {list(clips.shape)}: set model.channels to "
                "dataset.channels"
            )
        batch, channels, frames, height, width = clips.shape
        flat = clips.transpose(1, 2).reshape(batch * frames, channels, height, width)
        flat = F.pad(flat, (0, -width % SHRINK, 0, -height % SHRINK))
        states = self.encoder(flat).unflatten(0, (batch, frames))
        for cell in self.cells:
            states = cell(states)
        # No squashing into [0, 1]: under the squared error a sigmoid gets stuck at black, and its flat ends hide gradients.
        seen = self.decoder(states.flatten(0, 1))[..., :height, :width]
        return seen.unflatten(0, (batch, frames)).transpose(1, 2)


class ConvLSTMCell(nn.Module):
    """An LSTM whose state is a map and whose products are convolutions (Shi et al. 2015, eq. 3, without peepholes).

    Shape:
        features ``[B, T, C_in, h, w]``; states after every step ``[B, T, C_out, h, w]``.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__()
        self.channels = channels_out
        self.from_input = nn.Conv2d(channels_in, 4 * channels_out, kernel, padding=kernel // 2)
        self.from_state = nn.Conv2d(channels_out, 4 * channels_out, kernel, padding=kernel // 2, bias=False)
        with torch.no_grad():
            assert self.from_input.bias is not None
            self.from_input.bias[channels_out : 2 * channels_out] = 1.0  # begin by remembering

    def forward(self, features: Tensor) -> Tensor:
        """Return the states, from the zero state on."""
        batch, frames = features.shape[:2]
        inputs = self.from_input(features.flatten(0, 1)).unflatten(0, (batch, frames))
        state = features.new_zeros(batch, self.channels, *features.shape[-2:])
        memory, states = state, []
        for t in range(frames):
            gates = inputs[:, t] if t == 0 else inputs[:, t] + self.from_state(state)
            write, keep, show, new = gates.chunk(4, dim=1)
            memory = keep.sigmoid() * memory + write.sigmoid() * new.tanh()
            state = show.sigmoid() * memory.tanh()
            states.append(state)
        return torch.stack(states, dim=1)

"""Temporal defense: frames put together anew from patches of their neighbours."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional

from advvid.purifiers.base import Generators, Purifier
from advvid.purifiers.block_matching import match
from advvid.purifiers.integer_dct import coarsened


class TemporalDefense(Purifier):
    """Rebuild frames from matching patches of clean neighbours and a coarse residual (Jia et al., eq. 2 and 3, fig. 6).

    Every patch of a frame is looked for in a reference by the mean absolute difference. What it differs by from the one
    that was found passes a quantised integer DCT, which rounds small changes away, and is added again.

    The paper takes frame k - 1 for clean and does not say how one knows. Who knows calls ``rebuild`` with the polluted
    frames. ``references`` says what is used where it is unknown, as it is in front of a model:

    - ``neighbours``: for each patch, the better of the frames before and after, as they came in. A patch of a clean
      frame matches a clean neighbour better than a polluted one, and so pollution of single frames does not spread.
    - ``previous``: the frame before, as it came in, to the letter of equation 2; the first frame takes the second. Pollution of one
      frame goes, and the frame after it gets it.
    - ``reconstructed``: the frame before, as it was rebuilt, like in a video codec; the first frame stays as it is.
      Pollution of later frames goes, pollution of the first one spreads to all.

    Args:
        patch: side of a patch, which is also the transform's.
        search: greatest displacement in pixels.
        quantiser: step of the residual's coefficients, in eighths of a level of an orthonormal DCT. 1 gives frames
            back as they are, to rounding. The paper does not tell its own: 512 rounds away what changes every pixel by 8
            levels at random, whose coefficients are about 8 levels and seldom above 32, half a step.
        references: see above.
        surrogate: see ``Purifier``.

    Shape:
        clips ``[B, 3, T, H, W]``, rounded to 8 bits; a clip of one frame has no neighbours and stays as it is.

    Example:
        >>> TemporalDefense()(torch.full((1, 3, 2, 16, 16), 0.2)).unique()
        tensor([0.2000])
    """

    differentiable = False

    def __init__(
        self,
        patch: Annotated[int, Ge(2), Le(32)] = 8,
        search: Annotated[int, Ge(0), Le(32)] = 7,
        quantiser: Annotated[int, Ge(1), Le(2**16)] = 512,
        references: Literal["neighbours", "previous", "reconstructed"] = "neighbours",
        surrogate: nn.Module | None = None,
    ) -> None:
        super().__init__(surrogate)
        self.patch = patch
        self.search = search
        self.quantiser = quantiser
        self.references = references

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return clips whose frames were all rebuilt."""
        frames = _levels(clips)
        length = frames.shape[1]
        if length < 2 or not len(frames):
            return _clips(frames, clips)
        if self.references == "reconstructed":
            for k in range(1, length):
                frames[:, k] = self._rebuilt(frames[:, k], frames[:, k - 1 : k])
            return _clips(frames, clips)
        used = self.used(length)
        return _clips(self._rebuilt(frames.flatten(0, 1), frames[:, used].flatten(0, 1)).view_as(frames), clips)

    def used(self, length: int) -> Tensor:
        """Return the numbers of each frame's references, ``[T, R]``, where these are frames as they came in."""
        before = torch.arange(length) - 1
        before[0] = 1
        after = torch.arange(length) + 1
        after[-1] = length - 2
        return torch.stack([before, after] if self.references == "neighbours" else [before], dim=1)

    def rebuild(self, clips: Tensor, polluted: Tensor) -> Tensor:
        """Rebuild those frames that are known to be polluted; the others only lose what is below 8 bits.

        The reference is the closest clean frame before, or after where there is none before. A clip without any clean
        frame stays as it is.

        Shape:
            clips ``[B, 3, T, H, W]``; polluted: bool ``[B, T]``.
        """
        frames = _levels(clips)
        polluted = polluted.to(frames.device)
        place = torch.arange(frames.shape[1], device=frames.device)
        apart = place[:, None] - place  # how far the second lies before the first
        cost = torch.where(apart > 0, apart, len(place) - apart).masked_fill(polluted[:, None], 2 * len(place) + 1)
        used = cost.argmin(dim=2)
        clip, frame = (polluted & ~polluted.all(dim=1, keepdim=True)).nonzero(as_tuple=True)
        if len(clip):
            frames[clip, frame] = self._rebuilt(frames[clip, frame], frames[clip, used[clip, frame]][:, None])
        return _clips(frames, clips)

    def _rebuilt(self, frames: Tensor, references: Tensor) -> Tensor:
        """Return frames ``[N, 3, H, W]`` by their references ``[N, R, 3, H, W]``, all in levels."""
        predicted = match(frames, references, self.patch, self.search).predicted
        height, width = frames.shape[-2:]
        fill = [0, -width % self.patch, 0, -height % self.patch]
        residual = coarsened(functional.pad(frames - predicted, fill, mode="replicate"), self.patch, self.quantiser)
        return (predicted + residual[..., :height, :width]).clamp(0, 255)


def _levels(clips: Tensor) -> Tensor:
    """Return frames ``[B, T, 3, H, W]`` in whole levels."""
    return (clips * 255).round().clamp(0, 255).transpose(1, 2).contiguous()


def _clips(frames: Tensor, like: Tensor) -> Tensor:
    return frames.transpose(1, 2).to(like.dtype) / 255

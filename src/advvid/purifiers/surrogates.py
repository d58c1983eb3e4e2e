"""Stand-ins: what the backward pass goes through where a purifier has no gradient of its own (BPDA).

Athalye et al. 2018, sec. 4.1: the nearer the stand-in comes to what the purifier does to a small change, the stronger the
attack. The identity says that all of a change arrives. Of a change that a codec or a coarse quantiser gets, most does not.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from advvid.core.allowed import checked
from advvid.core.kinds import Numeral
from advvid.purifiers.base import Purifier, StandIn
from advvid.purifiers.block_matching import follow, match
from advvid.purifiers.comdefend import ComDefend
from advvid.purifiers.integer_dct import cosines
from advvid.purifiers.temporal_defense import TemporalDefense


@checked
class LowPass(nn.Module):
    """A blur in space and time that may take colour away: what a lossy codec lets through of a small change.

    The sign of a blurred gradient has areas of one sign, whose few coefficients are large enough to be coded. Colour is
    coded at half the resolution, and what a small change adds to it is rounded away nearly everywhere.

    Args:
        space: standard deviation in pixels; 0 for none.
        time: standard deviation in frames; 0 for none.
        grey: True lets the mean of the channels through alone.

    Shape:
        clips ``[B, 3, T, H, W]``. Weights beyond the border are left out, so that an even area stays even.

    Example:
        >>> LowPass(2.0)(torch.full((1, 3, 2, 8, 8), 0.5)).mean()
        tensor(0.5000)
    """

    def __init__(
        self,
        space: Annotated[float | str, Numeral(), Ge(0), Le(100)] = 2.0,
        time: Annotated[float | str, Numeral(), Ge(0), Le(100)] = 0.0,
        grey: bool = True,
    ) -> None:
        super().__init__()
        self.space = float(space)
        self.time = float(time)
        self.grey = grey

    def forward(self, clips: Tensor) -> Tensor:
        """Return blurred clips."""
        if self.grey:
            clips = clips.mean(dim=1, keepdim=True).expand_as(clips)
        if self.space:
            down, right = (_bell(clips, side, self.space) for side in clips.shape[-2:])
            clips = down @ clips @ right.T
        if self.time:
            clips = torch.einsum("st,bcthw->bcshw", _bell(clips, clips.shape[2], self.time), clips)
        return clips

    def extra_repr(self) -> str:
        """Return the settings, by which results are kept apart."""
        return f"space={self.space}, time={self.time}, grey={self.grey}"


class HeldMatch(StandIn):
    """Temporal defense with the places that its patches came from held fixed, and a quantiser that noise makes smooth.

    What a frame gives back is mostly made of its neighbours' pixels: there the gradient goes. The part that it keeps of
    itself is the gradient of ``E[round(c + noise)]`` at each coefficient c of the residual, which is 1 on average, small
    far from where the rounding jumps, and greatest there.

    Args:
        spread: standard deviation of the noise in steps of the quantiser; about 0.4 and above is rounding left out.

    Shape:
        clips ``[B, 3, T, H, W]``.
    """

    stands_for = (TemporalDefense,)

    def __init__(self, spread: Annotated[float | str, Numeral(), Ge(0.01), Le(10)] = 0.25) -> None:
        super().__init__()
        self.spread = float(spread)

    def forward(self, clips: Tensor, purifier: Purifier) -> Tensor:
        """Return rebuilt clips; differentiable."""
        assert isinstance(purifier, TemporalDefense)
        frames = clips.transpose(1, 2) * 255
        length = frames.shape[1]
        if length < 2:
            return clips
        if purifier.references == "reconstructed":
            rebuilt = [frames[:, 0]]
            for k in range(1, length):
                rebuilt.append(self._rebuilt(purifier, frames[:, k], rebuilt[-1][:, None]))
            return torch.stack(rebuilt, dim=2) / 255
        used = purifier.used(length)
        found = self._rebuilt(purifier, frames.flatten(0, 1), frames[:, used].flatten(0, 1))
        return found.view_as(frames).transpose(1, 2) / 255

    def _rebuilt(self, purifier: TemporalDefense, frames: Tensor, references: Tensor) -> Tensor:
        patch, search = purifier.patch, purifier.search
        with torch.no_grad():
            places = match(frames.round().clamp(0, 255), references.round().clamp(0, 255), patch, search)
        predicted = follow(references, places, patch, search)
        step = purifier.quantiser / 8
        return predicted + smoothly_coarsened(frames - predicted, patch, step, self.spread)


class SoftBits(StandIn):
    """ComDefend with its own networks' gradient, straight through the rounding of the code to bits.

    The decoder sees the very bits. Behind them stands a sigmoid of the code, as in training.

    Args:
        temperature: what the code is divided by. A noise of standard deviation s on the code makes a bit's chance about a
            sigmoid of the code over 0.6 s; None for that of the noise that is added, or 1 without noise.

    Shape:
        clips ``[B, 3, T, H, W]``.
    """

    stands_for = (ComDefend,)

    def __init__(self, temperature: Annotated[float | str, Numeral(), Ge(1e-3), Le(1e4)] | None = None) -> None:
        super().__init__()
        self.temperature = None if temperature is None else float(temperature)

    def forward(self, clips: Tensor, purifier: Purifier) -> Tensor:
        """Return the frames that come back; differentiable."""
        assert isinstance(purifier, ComDefend)
        heat = self.temperature if self.temperature is not None else 0.6 * purifier.noise if purifier.noise else 1.0

        def bits(code: Tensor) -> Tensor:
            soft = torch.sigmoid(code / heat)
            return (code > 0).to(code.dtype) + soft - soft.detach()

        height, width = clips.shape[-2:]
        return purifier.pictures(clips, bits)[..., :height, :width]


def smoothly_coarsened(frames: Tensor, patch: int, step: float, spread: float) -> Tensor:
    """Round every patch's cosine coefficients to multiples of a step, on average over a noise on them.

    Args:
        frames: filled up to whole patches with their last pixels.
        patch: side of a patch.
        step: of the quantiser, in the frames' unit for an orthonormal transform.
        spread: standard deviation of the Gaussian noise, in steps.

    Shape:
        frames: ``[..., H, W]``; the result is alike.
    """
    height, width = frames.shape[-2:]
    fill = [0, -width % patch, 0, -height % patch]
    whole = nn.functional.pad(frames, fill, mode="replicate") if any(fill) else frames
    matrix = cosines(patch).to(frames)
    blocks = whole.unflatten(-1, (-1, patch)).unflatten(-3, (-1, patch)).transpose(-3, -2)
    levels = smoothly_rounded(matrix @ blocks @ matrix.T / step, spread) * step
    return (matrix.T @ levels @ matrix).transpose(-3, -2).flatten(-4, -3).flatten(-2, -1)[..., :height, :width]


def smoothly_rounded(values: Tensor, spread: float) -> Tensor:
    """Return ``E[round(values + noise)]`` for Gaussian noise of a standard deviation, which has a gradient everywhere.

    Example:
        >>> smoothly_rounded(torch.tensor([0.0, 0.5, 2.0]), 0.1)
        tensor([0.0000, 0.5000, 2.0000])
    """
    reach = math.ceil(4 * spread + 0.5)
    near = values.detach().round()
    apart = values - near
    jumps = torch.arange(reach, device=values.device) + 0.5
    up, down = (torch.special.ndtr((sign * apart.unsqueeze(-1) - jumps) / spread).sum(dim=-1) for sign in (1, -1))
    return near + up - down


def _bell(like: Tensor, side: int, spread: float) -> Tensor:
    place = torch.arange(side, device=like.device, dtype=like.dtype)
    weights = (-(place[:, None] - place).square() / (2 * spread**2)).exp()
    return weights / weights.sum(dim=1, keepdim=True)

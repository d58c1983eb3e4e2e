"""Sets in which pixels of some frames move a little and take noise on top."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.threats.base import TOLERANCE, Aux, draw, grey_levels
from advvid.threats.flow import explained, warp
from advvid.threats.frames import draw_frames, frame_mask, frames_fit


@dataclass(frozen=True)
class MovedFrames:
    """Clips ``M * noise + warp(x, flow, M)`` with both parts bounded (DeepSAVA, algorithm 4, line 5).

    Where the flow is known from ``aux``, the noise on top of the moved clip is checked; else every value has to lie within
    the noise of what is found among the pixels that could have moved there.

    Args:
        noise: largest change of a value after the movement, in [0, 1].
        flow: largest shift of a pixel along an axis, in pixels at 112 x 112, scaled by the shorter side / 112.
        frames: how many frames of a clip may change; None for all.
        only: the frames that may change, or None for any.
        space: range of valid pixels.

    Shape:
        ``aux["frames"]``: ``bool [B, T]``. ``aux["flow"]``: ``[B, 2, T, H, W]`` in pixels, rows then columns.

    Example:
        >>> MovedFrames(8 / 255, 1.0).budget
        'l-inf 8/255 after a shift of at most 1 px at 112 x 112'
    """

    noise: float
    flow: float
    frames: int | None = None
    only: tuple[int, ...] | None = None
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= self.space.width:
            raise AdvvidError(
                f"noise={self.noise:g} is not possible: choose a number between 0 and {self.space.width:g} (such as 8/255)"
            )
        if not 0 <= self.flow < math.inf:
            raise AdvvidError(
                f"flow={self.flow:g} is no largest shift: choose a number of pixels at 112 x 112 of at least 0"
            )

    @property
    def budget(self) -> str:
        """The set in words."""
        words = f"l-inf {grey_levels(self.noise)} after a shift of at most {self.flow:g} px at 112 x 112"
        if self.only is not None:
            return f"{words}, in frames {', '.join(map(str, self.only))}"
        return words if self.frames is None else f"{words}, in {self.frames} frame{'s' if self.frames > 1 else ''}"

    def limit(self, x: Tensor) -> float:
        """Return the largest shift in pixels of these clips."""
        return self.flow * min(x.shape[-2:]) / 112

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Draw which frames may change: those of ``only``, else any, each set with equal chance."""
        return draw_frames(x, self.frames, self.only, generators)

    def draw_flow(self, x: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return flows that are uniform within the limit at every pixel, ``[B, 2, T, H, W]``."""
        return self.limit(x) * (2 * draw("rand", (2, *x.shape[2:]), generators, x) - 1)

    def draw_noise(self, x: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return noise that is uniform within its limit, of the shape of ``x``."""
        return self.noise * (2 * draw("rand", x.shape[1:], generators, x) - 1)

    def random_start(self, x: Tensor, generators: Sequence[torch.Generator], aux: Aux | None = None) -> Tensor:
        """Return the clips under a random flow and random noise in their frames."""
        moved = warp(x, self.draw_flow(x, generators)) + self.draw_noise(x, generators)
        return torch.where(frame_mask(aux), self.space.clamp(moved), x)

    def ascend(self, x_adv: Tensor, grad: Tensor, step_size: float, aux: Aux | None = None) -> Tensor:
        """Step by ``step_size`` along the sign of the gradient inside the frames."""
        return torch.where(frame_mask(aux), x_adv + step_size * grad.sign(), x_adv)

    def project(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Restore the other frames and clamp every value to what may be there."""
        low, high = self._around(x, aux)
        inside = self.space.clamp(torch.minimum(torch.maximum(x_adv, low - self.noise), high + self.noise))
        return torch.where(frame_mask(aux), inside, x)

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips keep frames, range and noise, and the flow of ``aux`` if given."""
        allowed = frames_fit(x_adv, x, self.frames, self.only, aux) & self.space.contains(x_adv)
        if aux is not None and "flow" in aux:
            # NaN compares as false.
            allowed &= aux["flow"].abs().flatten(1).amax(dim=1) <= self.limit(x) * (1 + 1e-5)
        return allowed & (self._excess(x_adv, x, aux) <= self.noise + TOLERANCE)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return the largest change of a value that no movement within the limit explains."""
        return self._excess(x_adv, x, None)

    def _excess(self, x_adv: Tensor, x: Tensor, aux: Aux | None) -> Tensor:
        low, high = self._around(x, aux)
        beyond = torch.maximum(low - x_adv, x_adv - high).clamp(min=0)
        return beyond.flatten(1).amax(dim=1)

    def _around(self, x: Tensor, aux: Aux | None) -> tuple[Tensor, Tensor]:
        """Return the smallest and largest value that a movement may bring to each place."""
        if aux is not None and "flow" in aux:
            return explained(x, aux["flow"])
        reach = math.ceil(self.limit(x) - 1e-6)
        if reach == 0:
            return x, x
        window = (1, 2 * reach + 1, 2 * reach + 1)
        high, low = (F.max_pool3d(part, window, 1, (0, reach, reach)) for part in (x, -x))
        return -low, high

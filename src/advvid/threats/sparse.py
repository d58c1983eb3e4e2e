"""Sets that touch a bounded number of frames, whatever is done to them: noise, a flow of pixels, an offset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from advvid.core.allowed import require
from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.metrics.similarity import dissimilarity
from advvid.threats.base import Aux, draw, per_clip
from advvid.threats.flow import explained
from advvid.threats.frames import draw_frames, frame_mask, frames_fit
from advvid.threats.offsets import Offsets

Measure = Literal["l21", "ssim"]
# Two computations of the same float32 mean over a frame differ by less than this.
ROOM = 1e-5


def l21(delta: Tensor) -> Tensor:
    """Return the l2,1 norm of a change ``[B, C, T, H, W]``: the sum over frames of each one's root mean square, ``[B]``.

    Wei et al. 2019, eq. 1, with the mean over a frame's values instead of their sum, as in the published code, so that
    it does not grow with the frame. Its gradient at zero is zero.

    Example:
        >>> l21(torch.full((1, 3, 2, 4, 4), 0.1))
        tensor([0.2000])
    """
    frames = delta.transpose(1, 2).flatten(2)
    return torch.linalg.vector_norm(frames, dim=2).sum(dim=1) / frames.shape[2] ** 0.5


def measure_of(name: Measure, space: Space, scales: int | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function (x_adv, x) -> ``[B]`` that ``l21`` or ``ssim`` (one minus it, summed over frames) means."""
    if name == "l21":
        return lambda x_adv, x: l21(x_adv - x)
    return lambda x_adv, x: dissimilarity(x_adv, x, width=space.width, scales=scales)


@dataclass(frozen=True)
class SparseFrames:
    """Clips of which at most ``frames`` frames differ from the clean ones (Wei et al. 2019; DeepSAVA, sec. 3.3).

    Args:
        frames: how many frames may change.
        space: range of valid pixels.
        measure: ``l21`` or ``ssim`` (one minus it, summed over frames), what ``distance`` reports.
        limit: largest distance, or None for no limit.
        only: the frames that may change, or None for any.
        scales: of SSIM; see ``advvid.metrics.similarity.ssim``.
        flow_limit: largest shift of a pixel along an axis, in pixels at 112 x 112, scaled by the shorter
            side / 112; checked where ``aux["flow"]`` is known.
        pure_flow: whether pixels may only move; also checked where ``aux["flow"]`` is known.

    Shape:
        ``aux["frames"]``: ``bool [B, T]``. ``aux["flow"]``: ``[B, 2, T, H, W]`` in pixels, rows then columns.
    """

    frames: int = 1
    space: Space = field(default_factory=Space)
    measure: Measure = "l21"
    limit: float | None = None
    only: tuple[int, ...] | None = None
    scales: int | None = None
    flow_limit: float | None = None
    pure_flow: bool = False

    def __post_init__(self) -> None:
        require(self.measure, Measure, "measure")
        if self.limit is not None and not self.limit >= 0:
            raise AdvvidError(f"budget={self.limit:g} is negative: choose a distance of at least 0, or null for none")

    @property
    def budget(self) -> str:
        """The set in words."""
        words = f"{self.frames} frame{'s' if self.frames > 1 else ''}"
        if self.only is not None:
            words += f" ({', '.join(map(str, self.only))})"
        if self.pure_flow:
            words += ", pixels only moved"
        if self.flow_limit is not None:
            words += f", by at most {self.flow_limit:g} px at 112 x 112"
        if self.limit is not None:
            words += f", {'l2,1' if self.measure == 'l21' else '1 - SSIM'} at most {self.limit:g}"
        return words

    def sample(self, x: Tensor, generators: Sequence[torch.Generator]) -> Aux:
        """Draw which frames may change: those of ``only``, else any, each set with equal chance."""
        return draw_frames(x, self.frames, self.only, generators)

    def random_start(self, x: Tensor, generators: Sequence[torch.Generator], aux: Aux | None = None) -> Tensor:
        """Return uniform noise in place of the frames, drawn towards ``x`` as far as the limit asks."""
        noise = draw("rand", x.shape[1:], generators, x) * self.space.width + self.space.low
        return self.project(noise, x, aux)

    def ascend(self, x_adv: Tensor, grad: Tensor, step_size: float, aux: Aux | None = None) -> Tensor:
        """Step by ``step_size`` along the sign of the gradient inside the frames."""
        return torch.where(frame_mask(aux), x_adv + step_size * grad.sign(), x_adv)

    def project(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Restore the other frames, clamp, and blend with ``x`` until the limit holds.

        For l2,1 that is the nearest allowed change in the same direction; for SSIM it is found by halving.
        """
        x_adv = torch.where(frame_mask(aux), self.space.clamp(x_adv), x)
        if self.limit is None:
            return x_adv
        low = torch.zeros(len(x), device=x.device)
        share = torch.ones_like(low)
        inside = self.distance(x_adv, x) <= self.limit
        for _ in range(24):
            middle = (low + share) / 2
            within = self.distance(x + per_clip(middle, x) * (x_adv - x), x) <= self.limit
            low, share = torch.where(within, middle, low), torch.where(within, share, middle)
        return torch.where(per_clip(inside, x), x_adv, x + per_clip(low, x) * (x_adv - x))

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips keep the number and places of frames, the range and the limit, and what ``aux`` claims."""
        allowed = frames_fit(x_adv, x, self.frames, self.only, aux) & self.space.contains(x_adv)
        if self.limit is not None:
            allowed &= self.distance(x_adv, x) <= self.limit + ROOM * self.frames
        if aux is not None and "flow" in aux:
            allowed &= self._flow_fits(x_adv, x, aux["flow"])
        return allowed

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return each clip's distance in the set's measure."""
        return measure_of(self.measure, self.space, self.scales)(x_adv, x)

    def _flow_fits(self, x_adv: Tensor, x: Tensor, flow: Tensor) -> Tensor:
        fits = flow.isfinite().flatten(1).all(dim=1)
        if self.flow_limit is not None:
            fits &= flow.abs().flatten(1).amax(dim=1) <= self.flow_limit * min(x.shape[-2:]) / 112 * (1 + ROOM)
        if self.pure_flow:
            low, high = (self.space.clamp(end) for end in explained(x, flow))
            fits &= ((x_adv >= low - ROOM) & (x_adv <= high + ROOM)).flatten(1).all(dim=1)
        return fits


@dataclass(frozen=True)
class SparseOffsets(SparseFrames):
    """At most ``frames`` frames, each changed by one offset per channel (sparse flickering, DeepSAVA sec. 4.1)."""

    @property
    def budget(self) -> str:
        """The set in words."""
        return f"{super().budget}, one offset per frame and channel"

    def contains(self, x_adv: Tensor, x: Tensor, aux: Aux | None = None) -> Tensor:
        """Tell which clips are explained by such offsets."""
        return super().contains(x_adv, x, aux) & Offsets(self.space).contains(x_adv, x, aux)

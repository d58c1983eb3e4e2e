"""DeepSAVA: few key frames, changed by noise and by a flow of their pixels, kept similar in structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from advvid.attacks.keyframe import KeyFrame
from advvid.attacks.penalised import Variables
from advvid.attacks.selection import Selection
from advvid.attacks.sparse_attack import SparseAttack
from advvid.core.batch import Space
from advvid.core.kinds import NotNegativeNumber, Numeral, Positive
from advvid.metrics.similarity import dissimilarity
from advvid.threats.base import Aux
from advvid.threats.flow import warp
from advvid.threats.sparse import SparseFrames


@dataclass(frozen=True, kw_only=True)
class DeepSAVA(SparseAttack):
    """DeepSAVA (Mu et al., sec. 3.3-3.4, eq. 2-4, algorithms 1-2): combined perturbation of N key frames.

    Minimised is ``weight * (1 - SSIM) - adversarial term`` over the noise and the flow; SSIM is summed over the frames.
    Distance: one minus SSIM, summed over frames (or l2,1). Defaults of the paper: one frame, chosen by Bayesian
    optimisation, 100 iterations, Adam at .01 (its code: .001 for values in [0, 1]), weight 1.0 (1.5 for CNN+LSTM).
    The paper gives one rate for noise and flow, which differ in their units: at .01 a step of the flow would move every
    pixel of a frame of 224 by 1.12 pixels, and the first one alone exceed the budgets of table 5. The flow takes .001.

    Args:
        change_by: ``both``, ``noise`` or ``flow``: the rows D+S, D and S of table 7.
        flow_step_size: Adam's learning rate of the flow, in halves of the frame's side (the units of spatial
            transformers, in which a frame spans [-1, 1]): .001 is 0.11 pixels at 224.
        flow_limit: largest shift of a pixel along an axis, in pixels at 112 x 112, scaled by the shorter side / 112;
            None for no limit beyond the similarity.
        noise_start: the noise of the first iterate, everywhere (the code: .01).
        scales: of SSIM, 1 to 5; None: 5 for frames above 160 pixels, else 1.

    Other arguments: see ``SparseAttack``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``aux``: ``frames bool [B, T]`` and, unless ``change_by`` is
        ``noise``, ``flow [B, 2, T, H, W]`` in pixels, rows then columns.

    Example:
        >>> DeepSAVA(key_frame="first", change_by="flow").threat.budget
        '1 frame (0), pixels only moved'
    """

    key_frame: KeyFrame = "bayesian"
    measure: Literal["l21", "ssim"] = "ssim"
    change_by: Literal["both", "noise", "flow"] = "both"
    flow_step_size: NotNegativeNumber = 0.001
    flow_limit: Positive | None = None
    noise_start: Annotated[float, Numeral()] = 0.0
    scales: Annotated[int, Ge(1), Le(5)] | None = None

    @property
    def threat(self) -> SparseFrames:
        """All clips that differ in at most N frames, there by a flow alone for ``change_by=flow``."""
        return SparseFrames(
            self.frames,
            self.space,
            self.measure,
            self.budget,
            self.only,
            self.scales,
            self.flow_limit,
            self.change_by == "flow",
        )

    def change(self, height: int, width: int) -> NoiseAndFlow:
        """Return the combined perturbation for frames of this size."""
        side = min(height, width)
        return NoiseAndFlow(
            self.space,
            float(self.step_size) if self.change_by != "flow" else None,
            float(self.flow_step_size) * side / 2 if self.change_by != "noise" else None,
            torch.inf if self.flow_limit is None else self.flow_limit * side / 112,
            self.noise_start,
            self.scales,
        )


@dataclass(frozen=True)
class NoiseAndFlow:
    """``noise + warp(frames, flow)``, held together by SSIM; see ``advvid.attacks.penalised.Change``.

    Args:
        space: range of valid pixels.
        step_size: learning rate of the noise, or None for no noise.
        flow_step_size: learning rate of the flow in pixels, or None for no flow.
        flow_limit: largest shift along an axis, in pixels.
        noise_start: first value of the noise.
        scales: of SSIM.
    """

    space: Space
    step_size: float | None
    flow_step_size: float | None
    flow_limit: float
    noise_start: float
    scales: int | None

    def start(self, frames: Tensor) -> Variables:
        """Return the first noise and no flow."""
        result: Variables = {}
        if self.step_size is not None:
            result["noise"] = torch.full_like(frames, self.noise_start)
        if self.flow_step_size is not None:
            result["flow"] = frames.new_zeros(len(frames), 2, *frames.shape[2:])
        return result

    def step_sizes(self) -> dict[str, float]:
        """Return the learning rates."""
        sizes = {"noise": self.step_size, "flow": self.flow_step_size}
        return {name: size for name, size in sizes.items() if size is not None}

    def apply(self, frames: Tensor, variables: Variables) -> Tensor:
        """Return the moved frames plus the noise (eq. 2)."""
        moved = warp(frames, variables["flow"]) if "flow" in variables else frames
        return self.space.clamp(moved + variables["noise"]) if "noise" in variables else self.space.clamp(moved)

    def penalty(self, changed: Tensor, frames: Tensor, variables: Variables, selection: Selection) -> Tensor:
        """Return one minus SSIM, summed over the frames."""
        return dissimilarity(changed, frames, width=self.space.width, scales=self.scales)

    def tidy(self, frames: Tensor, variables: Variables) -> Variables:
        """Cut the flow to its limit, and the noise to what stays in the range."""
        result = dict(variables)
        if "flow" in result:
            result["flow"] = result["flow"].clamp(-self.flow_limit, self.flow_limit)
        if "noise" in result:
            moved = warp(frames, result["flow"]) if "flow" in result else frames
            result["noise"] = self.space.clamp(moved + result["noise"]) - moved
        return result

    def describe(self, clips: Tensor, variables: Variables, selection: Selection) -> Aux:
        """Return the flow of all frames, zero where nothing moves."""
        if "flow" not in variables:
            return {}
        empty = clips.new_zeros(len(clips), 2, *clips.shape[2:])
        return {"flow": selection.put(empty, variables["flow"])}

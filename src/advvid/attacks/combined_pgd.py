"""PGD on a combined perturbation: pixels of some frames move a little and take noise on top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from advvid.attacks.base import AttackResult, resolve_step
from advvid.attacks.gradient import IteratedAttack
from advvid.attacks.problem import Problem
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, NotNegativeNumber, ShareNumber, Step
from advvid.threats.base import Aux, per_clip
from advvid.threats.flow import warp
from advvid.threats.frames import frame_mask
from advvid.threats.moved import MovedFrames


@dataclass(frozen=True, kw_only=True)
class CombinedPGD(IteratedAttack):
    """The inner attack of DeepSAVA's adversarial training (Mu et al., algorithm 4): signed steps on noise and flow.

    The clip is ``M * N + warp(x, U, M)``, with noise N, flow U and frames M. Both begin at random; each step moves N by
    ``step_size`` along the sign of its gradient, and U by ``flow_step_size`` along that of its own. The algorithm as
    printed moves the clip, which is moving N, and never U: that is ``flow_step_size`` 0. It gives no size of N and U and
    no M. The published code has 10 steps of 1/255 for noise up to .03, all frames, and a flow of 1e-4 pixels, which
    shifts nothing.

    Distance: the largest change of a value that no movement within the limit explains.

    Args:
        noise: largest value of N, in [0, 1], a number or a fraction.
        flow: largest shift of a pixel along an axis, in pixels at 112 x 112, scaled by the shorter side / 112.
        step_size: of the noise: a number, a fraction, ``optimal``, ``optimal/2`` or ``eps`` (the noise itself).
        flow_step_size: of the flow, in the units of ``flow``; 0 leaves it as it is drawn.
        frames: how many frames change; None for all.
        key_frame: which, where not all: the ``first`` or ``random`` ones.

    Other arguments: see ``IteratedAttack``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``aux``: ``frames bool [B, T]`` and ``flow [B, 2, T, H, W]`` in
        pixels, rows then columns, zero in other frames.

    Raises:
        AdvvidError: for an impossible setting, or a flow that would stay zero.

    Example:
        >>> CombinedPGD(noise="8/255", flow=1, frames=1, key_frame="first").threat.budget
        'l-inf 8/255 after a shift of at most 1 px at 112 x 112, in frames 0'
    """

    noise: ShareNumber = 0.03
    flow: NotNegativeNumber = 1.0
    step_size: Step = "1/255"
    flow_step_size: NotNegativeNumber = 0.1
    frames: Count | None = None
    key_frame: Literal["first", "random"] = "first"
    steps: Count = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if float(self.flow) > 0 and self.flow_step_size == 0 and not self.random_start:
            raise AdvvidError(
                "flow_step_size=0 with random_start=false leaves every pixel in place: set either, or flow=0"
            )
        _ = self.step

    @property
    def threat(self) -> MovedFrames:
        """All clips that such a flow and such noise make."""
        only = tuple(range(self.frames)) if self.frames is not None and self.key_frame == "first" else None
        return MovedFrames(float(self.noise), float(self.flow), self.frames, only, self.space)

    @property
    def step(self) -> float:
        """The step size of the noise as a number, after its rule."""
        return resolve_step(self.step_size, float(self.noise))

    def _one_start(self, problem: Problem) -> AttackResult:
        clips, generators = problem.clips, problem.generators
        size, threat = len(clips), self.threat
        choices = threat.sample(clips, generators)
        noise = threat.draw_noise(clips, generators) if self.random_start else torch.zeros_like(clips)
        flow = threat.draw_flow(clips, generators) if self.random_start else clips.new_zeros(size, 2, *clips.shape[2:])
        mask = chosen = frame_mask(choices)
        flow = flow * mask
        limit, flow_step = threat.limit(clips), float(self.flow_step_size) * min(clips.shape[-2:]) / 112
        kept: Aux = {"noise": noise.clone(), "flow": flow.clone()}
        fooled = torch.zeros(size, dtype=torch.bool, device=clips.device)
        taken = torch.full((size,), self.steps, device=clips.device)
        calls = torch.zeros_like(taken)
        active, clean, here = torch.arange(size, device=clips.device), clips, problem.goal
        watching = self.early_exit or self.keep == "fooled"
        for step in range(self.steps + 1):
            last = step == self.steps
            noise, flow = noise.detach().requires_grad_(not last), flow.detach().requires_grad_(not last)
            hit = torch.zeros_like(fooled[active])
            if not last or watching:
                out = problem.model(self._changed(clean, noise, flow, mask))
                hit = here.reached(out) if watching else hit
            better = hit | ~fooled[active]  # the last iterate, unless only an earlier one fools
            for name, value in (("noise", noise), ("flow", flow)):
                kept[name][active] = torch.where(per_clip(better, value), value.detach(), kept[name][active])
            taken[active] = torch.where(better, step, taken[active])
            fooled[active] |= hit
            left = (~hit).nonzero().squeeze(1) if self.early_exit else torch.arange(len(active), device=clips.device)
            if last or len(left) == 0:
                break
            wanted = [noise, flow] if flow_step and limit else [noise]
            gradients = torch.autograd.grad(here.loss(out).sum(), wanted)
            calls[active[left]] += 1
            with torch.no_grad():
                noise = (noise + self.step * gradients[0].sign()).clamp(-threat.noise, threat.noise)
                if len(gradients) > 1:
                    flow = (flow + flow_step * gradients[1].sign()).clamp(-limit, limit)
                if len(left) < len(active):
                    active, clean, mask, here = active[left], clean[left], mask[left], here.select(left)
                    noise, flow = noise[left], flow[left]
        with torch.no_grad():
            x_adv = self._changed(clips, kept["noise"], kept["flow"], chosen)
        return AttackResult(x_adv, taken, calls, {**choices, "flow": kept["flow"]})

    def _changed(self, clips: Tensor, noise: Tensor, flow: Tensor, mask: Tensor) -> Tensor:
        """Return the moved frames plus the noise; the others are the very same bits."""
        moved = warp(clips, flow) if float(self.flow) else clips  # a flow of zero still rounds
        return torch.where(mask, self.space.clamp(moved + noise), clips)

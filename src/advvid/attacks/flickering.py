"""Flickering: a colour offset for each frame of a video."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from advvid.attacks.base import AttackResult
from advvid.attacks.flicker import Flicker, describe, margin_hinge
from advvid.attacks.problem import Problem
from advvid.attacks.search import Keep, looks_now
from advvid.threats.base import per_clip


@dataclass(frozen=True, kw_only=True)
class Flickering(Flicker):
    """Flickering attack on each video by itself (Pony et al. 2021; Kinfu & Vidal, sec. 2, eq. 4).

    Distance: none; thickness and roughness are reported in ``aux``. The defaults are those of the paper's
    table 4 at its weakest regulariser. The search starts without an offset.

    Args:
        early_exit: fooled clips leave the batch (same verdicts, less work).
        keep: ``last`` returns the last iterate, as the code behind table 4 did, even where the regulariser made it
            right again; ``fooled`` returns an earlier iterate in that case.

    Other arguments: see ``advvid.attacks.flicker.Flicker``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``aux``: ``pattern [B, 3, T]``, ``thickness [B]`` and
        ``roughness [B]`` as fractions of the value range.

    Example:
        >>> Flickering(beta_0=4).threat.budget
        'one offset per frame and channel'
    """

    early_exit: bool = True
    keep: Keep = "fooled"

    def _search(self, problem: Problem) -> AttackResult:
        problem = problem.aimed(self.targeted)
        clips = problem.clips
        pattern = clips.new_zeros(clips.shape[:3])
        result, earlier = pattern.clone(), pattern.clone()
        active = torch.arange(len(clips), device=clips.device)
        taken = torch.full((len(clips),), self.steps, device=clips.device)
        calls, earlier_at = torch.zeros_like(taken), torch.full_like(taken, -1)
        descend, clean, here = self.optimiser(pattern), clips, problem.goal
        gone = torch.zeros(len(clips), dtype=torch.bool, device=clips.device)  # fooled before, and not taken out yet
        for step in range(self.steps):
            pattern = pattern.detach().requires_grad_()
            out = problem.model(self.threat.apply(clean, pattern))
            hit, left = here.reached(out), active
            if self.early_exit:
                fresh, gone = hit & ~gone, gone | hit
                result[active] = torch.where(per_clip(fresh, pattern), pattern.detach(), result[active])
                taken[active] = torch.where(fresh, step, taken[active])
                left = (~gone).nonzero().squeeze(1) if looks_now(step, clips.device) else active
                if len(left) == 0:
                    break
            elif self.keep == "fooled":
                earlier = torch.where(per_clip(hit, pattern), pattern.detach(), earlier)
                earlier_at = torch.where(hit, step, earlier_at)
            loss = margin_hinge(out, here, self.margin) + self.penalty(pattern)
            (grad,) = torch.autograd.grad(loss.sum(), pattern)
            calls[active] += (~gone).long()
            pattern = descend(pattern.detach(), grad)
            if len(left) < len(active):
                active, pattern, clean, gone = active[left], pattern[left], clean[left], gone[left]
                here = here.select(left)
                descend.select(left)
        result[active] = torch.where(per_clip(gone, pattern), result[active], pattern.detach())
        if self.keep == "fooled" and not self.early_exit:
            back = (earlier_at >= 0) & ~problem.fooled(self.threat.apply(clips, result))
            result, taken = torch.where(per_clip(back, result), earlier, result), torch.where(back, earlier_at, taken)
        return AttackResult(self.threat.apply(clips, result), taken, calls, describe(result))

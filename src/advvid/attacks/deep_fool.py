"""DeepFool: the smallest change that crosses a decision boundary, by repeated linearisation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from advvid.attacks.base import AttackResult
from advvid.attacks.hyperplane import lengths, scaled, to_hyperplane
from advvid.attacks.logits import likely_classes, require_logits
from advvid.attacks.minimal import MinimalNormAttack, nearest_boundary
from advvid.attacks.problem import Problem
from advvid.attacks.search import looks_now
from advvid.core.kinds import Count, NotNegative
from advvid.threats.base import per_clip

# Halvings of the overshoot at the end.
HALVINGS = 3


@dataclass(frozen=True, kw_only=True)
class DeepFool(MinimalNormAttack):
    """DeepFool (Moosavi-Dezfooli et al. 2016, algorithm 2) and its statistic rho (Choudhary et al., sec. 3.2.4).

    Every step goes to the nearest boundary of the linearised model. Unlike the paper's, it goes there within the range
    of valid pixels.

    Args:
        steps: most iterations.
        overshoot: by which part the total change is lengthened, so that it lands behind the boundary. What turns out
            not to be needed of it is taken back at the end.
        classes: boundaries with this many most likely wrong classes are considered.
        norm: ``linf`` or ``l2``.
            Other arguments: see ``MinimalNormAttack``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``aux["rho"]`` ``[B]``
        is the l2 norm of the smallest change over that of the clip (its mean over clips is the paper's measure, larger
        for a more robust model); infinite where none was found, 0 for a clip that was wrong already.

    Example:
        >>> DeepFool().run(model, clips, labels).aux["rho"].mean()      # doctest: +SKIP
    """

    norm: Literal["linf", "l2"] = "l2"
    steps: Count = 50
    overshoot: NotNegative = 0.02
    classes: Count = 9

    def _search(self, problem: Problem) -> AttackResult:
        problem = problem.aimed(self.targeted)
        clips, here = problem.clips, problem.goal
        with torch.no_grad():
            logits = require_logits(problem.model(clips), here.labels, "DeepFool", several=True)
            rivals = likely_classes(logits, here.labels, self.classes)
        found, x, total, clean = clips.clone(), clips, torch.zeros_like(clips), clips
        active = torch.arange(len(clips), device=clips.device)
        steps = torch.full((len(clips),), self.steps, device=clips.device)
        calls = torch.zeros_like(steps)
        gone = torch.zeros(len(clips), dtype=torch.bool, device=clips.device)  # fooled before, and not taken out yet
        for step in range(self.steps):
            logits, gap, normal = nearest_boundary(problem.model, x, here, rivals, self.norm)
            hit = here.reached(logits)
            fresh, gone = hit & ~gone, gone | hit
            # A clip that leaves now needs no gradient, whatever its neighbours do.
            calls[active] += (~gone).long() * (1 if here.targets is not None else rivals.shape[1])
            found[active] = torch.where(per_clip(fresh, x), x, found[active])
            steps[active] = torch.where(fresh, step, steps[active])
            left = (~gone).nonzero().squeeze(1) if looks_now(step, clips.device) else active
            if len(left) == 0:
                break
            if len(left) < len(active):
                active, x, total, clean, rivals = active[left], x[left], total[left], clean[left], rivals[left]
                gap, normal, here, gone = gap[left], normal[left], here.select(left), gone[left]
            total = total + to_hyperplane(x, normal, gap, self.norm, self.space)
            x = self.space.clamp(clean + (1 + self.overshoot) * total, clean)
        else:
            found[active] = torch.where(per_clip(gone, x), found[active], x)
        found = self._take_back(problem, found)
        result = self._judge(problem, found, steps, calls)
        smallest = torch.where(result.aux["norm"].isfinite(), lengths(found - clips, "l2"), torch.inf)
        rho = smallest / lengths(clips, "l2").clamp_min(1e-30)
        return dataclasses.replace(result, aux={**result.aux, "rho": rho})

    def _take_back(self, problem: Problem, found: Tensor) -> Tensor:
        """Shorten each fooling change by what it does not need of the overshoot."""
        clips = problem.clips
        high = torch.ones(len(clips), device=clips.device)
        low = high / (1 + self.overshoot)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            hit = problem.fooled(clips + scaled(found - clips, middle))
            low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)
        return torch.where(per_clip(high < 1, clips), clips + scaled(found - clips, high), found)

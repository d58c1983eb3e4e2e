"""FAB: the fast adaptive boundary attack, which looks for the nearest clip that fools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from advvid.attacks.base import AttackResult
from advvid.attacks.fab_search import Nearest, fab_search, final_search
from advvid.attacks.hyperplane import lengths
from advvid.attacks.logits import likely_classes, require_logits
from advvid.attacks.minimal import MinimalNormAttack
from advvid.attacks.problem import Problem
from advvid.core.kinds import Count, NotNegativeNumber, Share, Whole
from advvid.threats.base import draw, per_clip

# Radius of the random starts where neither a fooling clip nor a budget gives one, of the space's width per value.
WIDE = 0.3


@dataclass(frozen=True, kw_only=True)
class FAB(MinimalNormAttack):
    """FAB (Croce & Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary attack").

    Args:
        steps: iterations of each search.
        restarts: searches for each target; the second and later ones start at random within half the best distance.
        targets: n for FAB-T, a search for each of the n most likely wrong classes; 0 for one search that goes to the
            nearest boundary at every step (a backward pass per class in ``classes``).
        classes: wrong classes that the untargeted form considers, the most likely ones.
        alpha_max, eta, beta: see ``advvid.attacks.fab_search.fab_search``; the paper's values are the defaults.
        early_exit: a clip that fools within eps leaves, although a smaller change might be found.
            Other arguments: see ``MinimalNormAttack``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape.
    """

    eps: NotNegativeNumber | None = "8/255"
    norm: Literal["linf", "l2"] = "linf"
    steps: Count = 100
    restarts: Count = 1
    targets: Whole = 9
    classes: Count = 9
    alpha_max: Share = 0.1
    eta: Annotated[float, Ge(1), Le(2)] = 1.05
    beta: Share = 0.9
    early_exit: bool = True

    def _search(self, problem: Problem) -> AttackResult:
        problem = problem.aimed(self.targeted)
        clips, goal = problem.clips, problem.goal
        nearest = Nearest.nothing(clips)
        with torch.no_grad():
            logits = require_logits(problem.model(clips), goal.labels, "FAB", several=True)
        wrong = goal.reached(logits)
        nearest.distance[wrong] = 0
        rivals = likely_classes(logits, goal.labels, self.targets or self.classes)
        sets = [rivals] if goal.targets is not None or not self.targets else list(rivals.split(1, dim=1))
        enough = self.radius if self.early_exit and self.eps is not None else 0.0
        for restart in range(self.restarts):
            for number, some in enumerate(sets):
                left = (nearest.distance > enough).nonzero().squeeze(1)
                if len(left) == 0:
                    break
                rest = problem.select(left)
                start = self._start(rest, nearest.distance[left], restart)
                fab_search(
                    rest, start, some[left], nearest, left, norm=self.norm,
                    space=self.space, steps=self.steps, alpha_max=self.alpha_max, eta=self.eta, beta=self.beta,
                    enough=enough, offset=(restart * len(sets) + number) * self.steps,
                )  # fmt: skip
        final_search(problem, nearest, self.norm)
        missed = nearest.distance.isinf()
        nearest.steps[missed] = self.steps * self.restarts * len(sets)
        found = torch.where(per_clip(missed, clips), nearest.last, nearest.x)
        return self._judge(problem, found, nearest.steps, nearest.calls)

    def _start(self, problem: Problem, distance: Tensor, restart: int) -> Tensor:
        """Return the clean clips first, later random ones at half of the best distance or budget."""
        clips = problem.clips
        if restart == 0:
            return clips
        noise = draw("randn" if self.norm == "l2" else "rand", clips.shape[1:], problem.generators, clips)
        noise = noise if self.norm == "l2" else 2 * noise - 1
        size = 1.0 if self.norm == "linf" else clips[0].numel() ** 0.5
        limit = self.radius if self.eps is not None else WIDE * self.space.width * size
        radius = distance.clamp_max(limit) / 2
        return self.space.clamp(clips + noise * per_clip(radius / lengths(noise, self.norm).clamp_min(1e-30), clips))

"""Square: a random search that needs the model's answers only, on cuboids in time and space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from advvid.attacks.base import Attack, AttackResult
from advvid.attacks.problem import Goal, Problem, Targeted
from advvid.attacks.square_moves import PLACES, L2Moves, LinfMoves, share
from advvid.core.kinds import NotNegativeNumber, Numeral
from advvid.threats.balls import L2Ball, LinfBall, ball
from advvid.threats.base import draw, per_clip


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Square attack (Andriushchenko et al. 2020), extended from squares of an image to cuboids of a clip.

    It changes one cuboid at a time and keeps what lowers the label's margin; it computes no gradient, so that a
    defense that hides gradients does not stop it. Distance: l-inf or l2 over the whole clip.

    Args:
        eps: budget, a number or a fraction such as ``"8/255"``.
        norm: ``linf`` or ``l2``.
        queries: times the model may be asked about each clip, the first time about the clean one.
        p_init: part of the clip that the first cuboids cover, in (0, 1].
        targeted: None, ``least_likely``, ``random`` or a class number; ``run(targets=...)`` gives targets instead.
        early_exit: fooled clips leave the batch; without, their margin is lowered further.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``aux["queries"]`` is
        int ``[B]``; ``gradient_calls`` is 0.

    Example:
        >>> Square(eps="8/255", queries=1000).threat.budget
        'l-inf 8/255'
    """

    access: ClassVar[str] = "black_box"

    eps: NotNegativeNumber = "8/255"
    norm: Literal["linf", "l2"] = "linf"
    queries: Annotated[int, Ge(2)] = 5000
    p_init: Annotated[float, Numeral(), Gt(0), Le(1)] = 0.8
    targeted: Targeted = None
    early_exit: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.threat  # refuses an impossible budget now rather than at the first batch

    @property
    def threat(self) -> LinfBall | L2Ball:
        """The norm ball of radius eps, cut by the range of valid pixels."""
        return ball(self.norm, float(self.eps), self.space)

    @torch.no_grad()
    def _search(self, problem: Problem) -> AttackResult:
        problem = problem.aimed(self.targeted)
        clips, generators, model, goal = problem.clips, problem.generators, problem.model, problem.goal
        moves = (LinfMoves if self.norm == "linf" else L2Moves)(float(self.eps), self.space)
        # Drawn in one go, whatever happens to the clip, so that its numbers depend on nothing else.
        width, channels = clips.shape[-1], clips.shape[1]
        stripes = draw("rand", (channels, width, width), generators, clips)
        numbers = draw("rand", (self.queries, PLACES + channels), generators, clips)
        result, clean = clips.clone(), clips
        asked = torch.full((len(clips),), self.queries, device=clips.device)
        out = model(clips)
        first_loss = best_loss = goal.loss(out)
        value, fooled, best = _value(goal, out), goal.reached(out), clips
        active = torch.arange(len(clips), device=clips.device)
        for query in range(1, self.queries + 1):
            # One check a query; `fooled` is false for all that stay when clips leave.
            if self.early_exit and bool(fooled.any()):
                result[active[fooled]], asked[active[fooled]] = best[fooled], query
                left = (~fooled).nonzero().squeeze(1)
                active, best, clean, value, fooled = active[left], best[left], clean[left], value[left], fooled[left]
                first_loss, best_loss, goal = first_loss[left], best_loss[left], goal.select(left)
                stripes, numbers = stripes[left], numbers[left]
            if len(active) == 0 or query == self.queries:
                break
            part = share(query - 1, self.queries, float(self.p_init))
            tried = moves.first(clean, stripes) if query == 1 else moves.next(best, clean, numbers[:, query], part)
            out = model(tried)
            hit, new = goal.reached(out), _value(goal, out)
            # The clean clip's margin is not the one to beat: the stripes are where the search begins.
            better = torch.ones_like(hit) if query == 1 else (new < value) | (hit & ~fooled)
            if not self.early_exit:
                better = better & (hit | ~fooled)
            best = torch.where(per_clip(better, best), tried, best)
            value, fooled = torch.where(better, new, value), fooled | (better & hit)
            best_loss = torch.where(better, goal.loss(out), best_loss)
        unharmed = ~fooled & (best_loss < first_loss)
        result[active] = torch.where(per_clip(unharmed, clean), clean, self.threat.project(best, clean))
        return AttackResult(result, asked - 1, torch.zeros_like(asked), {"queries": asked})


def _value(goal: Goal, out: Tensor) -> Tensor:
    """Return what the search lowers, ``[B]``: the label's margin where the task has one, else minus the goal's loss."""
    margin = goal.task.margin(out, goal.labels) if goal.targets is None else None
    return -goal.loss(out) if margin is None else margin

"""SimBA: one direction of a fixed basis after the other, kept where the label's score falls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from advvid.attacks.base import Attack, AttackResult, resolve_step
from advvid.attacks.hyperplane import lengths, scaled
from advvid.attacks.problem import Problem, Targeted
from advvid.attacks.search import looks_now
from advvid.attacks.square import LOOK_EVERY
from advvid.attacks.waves import low_waves
from advvid.core.kinds import NotNegativeNumber, ShareNumber, Step
from advvid.core.numbers import parse_number
from advvid.threats.balls import L2Ball, LinfBall, ball
from advvid.threats.base import per_clip


@dataclass(frozen=True, kw_only=True)
class SimBA(Attack):
    """Simple black-box attack (Guo et al. 2019, algorithm 1), from scores: what every cleverer search has to beat.

    A direction is drawn from an orthonormal basis without repetition; the clip goes a step along it, else a step against
    it, where that lowers the label's margin. Distance: l-inf or l2 over the whole clip.

    Args:
        eps: budget, a number or a fraction such as ``"8/255"``.
        norm: ``linf``, or ``l2`` as in the paper, which bounds the number of steps only.
        queries: times the model may be asked about each clip, the first time about the clean one.
        step_size: length of a step in the norm: a number, a fraction, ``optimal``, ``optimal/2`` or ``eps`` (the paper: 0.2
            in l2).
        basis: ``cosine`` waves in time and space (SimBA-DCT) or single ``values``.
        frequencies: part of the frequencies along each axis that cosine waves are drawn from, the low ones (the paper: 1/8
            of large images).
        targeted: None, ``least_likely``, ``random`` or a class number; ``run(targets=...)`` gives targets instead.
        early_exit: fooled clips leave the batch; without, their margin is lowered further.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``aux["queries"]`` is
        int ``[B]``; ``gradient_calls`` is 0.

    Example:
        >>> SimBA(norm="l2", eps=2, step_size=0.2).threat.budget
        'l2 2 over the clip'
    """

    access: ClassVar[str] = "black_box"

    eps: NotNegativeNumber = "8/255"
    norm: Literal["linf", "l2"] = "linf"
    queries: Annotated[int, Ge(2)] = 5000
    step_size: Step = "eps"
    basis: Literal["cosine", "values"] = "cosine"
    frequencies: ShareNumber = "1/4"
    targeted: Targeted = None
    early_exit: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.step  # refuses an unknown rule

    @property
    def step(self) -> float:
        """The step size as a number, after its rule."""
        return resolve_step(self.step_size, float(self.eps))

    @property
    def threat(self) -> LinfBall | L2Ball:
        """The norm ball of radius eps, cut by the range of valid pixels."""
        return ball(self.norm, float(self.eps), self.space)

    def notes(self, classes: int) -> tuple[str, ...]:
        """Return what the attack sees of the model, and how often."""
        return (f"SimBA sees scores and asks at most {self.queries} times about each clip.",)

    def bases(self, clips: Tensor) -> list[Tensor]:
        """Return the orthonormal directions along channels, frames, rows and columns of clips, each ``[number, side]``."""
        if self.basis == "cosine":
            return [torch.eye(clips.shape[1], device=clips.device), *low_waves(clips, parse_number(self.frequencies))]
        return [torch.eye(side, device=clips.device) for side in clips.shape[1:]]

    @torch.no_grad()
    def _search(self, problem: Problem) -> AttackResult:
        problem = problem.aimed(self.targeted)
        clips, model = problem.clips, problem.model
        bases = self.bases(clips)
        directions = math.prod(len(base) for base in bases)
        # Drawn in one go, so that a clip's numbers depend on nothing else.
        order = torch.stack([torch.randperm(directions, generator=g) for g in problem.generators])
        out, asked = model(clips), torch.full((len(clips),), self.queries, device=clips.device)
        result, goal = clips.clone(), problem.goal
        now = {
            "row": torch.arange(len(clips), device=clips.device),
            "order": order.to(clips.device, non_blocking=True),
            "x": clips,
            "clean": clips,
            "value": goal.ahead(out),
            "loss": goal.loss(out),
            "first": goal.loss(out),
            "fooled": goal.reached(out),
            "turn": torch.zeros(len(clips), dtype=torch.int64, device=clips.device),
            "sign": torch.ones(len(clips), device=clips.device),
        }
        if self.early_exit:
            asked = torch.where(now["fooled"], 1, asked)
        for query in range(1, self.queries + 1):
            if self.early_exit and (query == self.queries or looks_now(query, clips.device, LOOK_EVERY)):
                left = (~now["fooled"]).nonzero().squeeze(1)
                if len(left) < len(now["row"]):
                    result[now["row"]] = now["x"]
                    now, goal = {name: value[left] for name, value in now.items()}, goal.select(left)
            if len(now["row"]) == 0 or query == self.queries:
                break
            index = now["order"].gather(1, now["turn"][:, None] % directions).squeeze(1)
            change = scaled(self._direction(index, bases), self.step * now["sign"])
            tried = self.threat.project(now["x"] + change, now["clean"])
            out = model(tried)
            hit, value = goal.reached(out), goal.ahead(out)
            better = (value < now["value"]) | (hit & ~now["fooled"])
            better = better & ~now["fooled"] if self.early_exit else better & (hit | ~now["fooled"])
            if self.early_exit:
                asked[now["row"]] = torch.where(better & hit, query + 1, asked[now["row"]])
            now["x"] = torch.where(per_clip(better, tried), tried, now["x"])
            now["value"] = torch.where(better, value, now["value"])
            now["loss"] = torch.where(better, goal.loss(out), now["loss"])
            now["fooled"] = now["fooled"] | (better & hit)
            # Against a direction that did not help; then, or after one that did, along the next.
            again = ~better & (now["sign"] > 0)
            now["turn"] = now["turn"] + (~again).long()
            now["sign"] = torch.where(again, -1.0, 1.0)
        worse = ~now["fooled"] & (now["loss"] < now["first"])
        result[now["row"]] = torch.where(per_clip(worse, now["x"]), now["clean"], now["x"])
        return AttackResult(result, asked - 1, torch.zeros_like(asked), {"queries": asked})

    def _direction(self, index: Tensor, bases: Sequence[Tensor]) -> Tensor:
        """Return the directions ``[B, C, T, H, W]`` of these numbers ``[B]``, of unit length in the norm."""
        parts = []
        for base in reversed(bases):
            parts.append(base[index % len(base)])
            index = index // len(base)
        change = torch.einsum("bw,bh,bt,bc->bcthw", *parts)
        return scaled(change, 1 / lengths(change, self.norm))

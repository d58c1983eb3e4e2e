"""SimBA: one direction of a fixed basis after the other, kept where the label's score falls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from advvid.attacks.hyperplane import lengths, scaled
from advvid.attacks.problem import Problem
from advvid.attacks.proposals import ProposalSearch, State
from advvid.attacks.stepped import SteppedAttack
from advvid.attacks.waves import low_waves
from advvid.core.kinds import ShareNumber, Step
from advvid.core.numbers import parse_number
from advvid.threats.balls import L2Ball, LinfBall, ball


@dataclass(frozen=True, kw_only=True)
class SimBA(SteppedAttack, ProposalSearch):
    """Simple black-box attack (Guo et al. 2019, algorithm 1), from scores: what every cleverer search has to beat.

    A direction is drawn from an orthonormal basis without repetition; the clip goes a step along it, else a step against
    it, where that lowers the label's margin. Distance: l-inf or l2 over the whole clip.

    Args:
        norm: ``linf``, or ``l2`` as in the paper, which bounds the number of steps only.
        step_size: length of a step in the norm: a number, a fraction, ``optimal``, ``optimal/2`` or ``eps`` (the paper: 0.2
            in l2).
        basis: ``cosine`` waves in time and space (SimBA-DCT) or single ``values``.
        frequencies: part of the frequencies along each axis that cosine waves are drawn from, the low ones (the paper: 1/8
            of large images).
            Other arguments: see ``SteppedAttack`` and ``ProposalSearch``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``aux["queries"]`` is
        int ``[B]``; ``gradient_calls`` is 0.

    Example:
        >>> SimBA(norm="l2", eps=2, step_size=0.2).threat.budget
        'l2 2 over the clip'
    """

    norm: Literal["linf", "l2"] = "linf"
    step_size: Step = "eps"
    basis: Literal["cosine", "values"] = "cosine"
    frequencies: ShareNumber = "1/4"

    @property
    def threat(self) -> LinfBall | L2Ball:
        """The norm ball of radius eps, cut by the range of valid pixels."""
        return ball(self.norm, self.radius, self.space)

    def bases(self, clips: Tensor) -> list[Tensor]:
        """Return the orthonormal directions along channels, frames, rows and columns of clips, each ``[number, side]``."""
        share = parse_number(self.frequencies) if self.basis == "cosine" else None
        return _bases(clips.shape[1:], share, clips.device)

    def _begin(self, problem: Problem) -> State:
        clips = problem.clips
        number = math.prod(len(base) for base in self.bases(clips))
        order = torch.stack([torch.randperm(number, generator=g) for g in problem.generators])
        return {
            "order": order.to(clips.device, non_blocking=True),
            "turn": torch.zeros(len(clips), dtype=torch.int64, device=clips.device),
            "sign": torch.ones(len(clips), device=clips.device),
        }

    def _propose(self, now: State, query: int) -> State:
        index = now["order"].gather(1, now["turn"][:, None] % now["order"].shape[1]).squeeze(1)
        change = scaled(self._direction(index, self.bases(now["clean"])), self.step * now["sign"])
        return {"x": self.threat.project(now["x"] + change, now["clean"])}

    def _judged(self, now: State, better: Tensor) -> None:
        # Against a direction that did not help; then, or after one that did, along the next.
        again = ~better & (now["sign"] > 0)
        now["turn"] = now["turn"] + (~again).long()
        now["sign"] = torch.where(again, -1.0, 1.0)

    def _direction(self, index: Tensor, bases: Sequence[Tensor]) -> Tensor:
        """Return the directions ``[B, C, T, H, W]`` of these numbers ``[B]``, of unit length in the norm."""
        parts = []
        for base in reversed(bases):
            parts.append(base[index % len(base)])
            index = index // len(base)
        change = torch.einsum("bw,bh,bt,bc->bcthw", *parts)
        return scaled(change, 1 / lengths(change, self.norm))


# Worked out once rather than for every query.
@lru_cache(maxsize=4)
def _bases(shape: torch.Size, share: float | None, device: torch.device) -> list[Tensor]:
    whole = [torch.eye(side, device=device) for side in shape]
    return whole if share is None else [whole[0], *low_waves(torch.empty(1, *shape, device=device), share)]

"""Bullet-screen comments: text over the clip, whose place and opacity are searched by scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, MinLen

from advvid.attacks.problem import Problem
from advvid.attacks.proposals import ProposalSearch, State
from advvid.attacks.square import pick
from advvid.core.kinds import NotNegative, Positive, Share
from advvid.threats.base import draw
from advvid.threats.comments import Comments

# Part of the queries that are spent on lines drawn anew, before the best ones are moved.
FRESH = 0.2
# Width of a move: of a line's place, as part of the room that it has, and of its opacity.
MOVE = 0.25


@dataclass(frozen=True, kw_only=True)
class BulletComments(ProposalSearch):
    """Bullet-screen comments (Chen et al. 2021, "Attacking video recognition models with bullet-screen comments"), by scores.

    Lines of white text run over the clip, as the comments of viewers do on some sites; what fools is where they are and how
    opaque. A fifth of the queries tries places at random. Then one line of the best is drawn anew or moved a little at
    each. The paper trains an agent on each clip, by reinforcement, for the same choice, and lets a network that describes images write
    the lines; here they are given.

    Args:
        texts: the lines (the paper: 4 or so).
        size: height of letters in pixels at 112 x 112, scaled by the shorter side / 112 and at least 5.
        opacity: largest part of white in a letter, in (0, 1].
        speed: pixels per frame to the left at 112 x 112; 0 for lines that stand.
            Other arguments: see ``ProposalSearch``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``aux["queries"]`` is int ``[B]``;
        ``aux["lines"]`` ``[B, L, 3]``, see ``Comments``; ``gradient_calls`` is 0.

    Example:
        >>> BulletComments(texts=["well done"], opacity=0.5).threat.budget
        '1 line of white text, 10 px at 112 x 112, opacity 0.5'
    """

    kept: ClassVar[tuple[str, ...]] = ("lines",)

    texts: Annotated[Sequence[str], MinLen(1)] = ("well done", "what a move", "so good", "look here")
    size: Positive = 10.0
    opacity: Share = 0.7
    speed: NotNegative = 1.0
    queries: Annotated[int, Ge(2)] = 1000

    @property
    def threat(self) -> Comments:
        """White text of these lines, at any place."""
        return Comments(tuple(self.texts), float(self.size), float(self.opacity), float(self.speed), self.space)

    def _begin(self, problem: Problem) -> State:
        clips, generators = problem.clips, problem.generators
        return {
            "lines": self.threat.nothing(clips),
            "numbers": draw("rand", (self.queries, len(self.texts), 3), generators, clips),
            "choice": draw("rand", (self.queries, 2), generators, clips),
        }

    def _propose(self, now: State, query: int) -> State:
        lines = fresh = now["numbers"][:, query]
        if query >= FRESH * self.queries:
            which, kind = now["choice"][:, query].unbind(dim=1)
            index = torch.arange(len(self.texts), device=which.device)
            chosen = index == pick(which, len(self.texts))[:, None]
            moved = (now["lines"] + MOVE * (fresh - 0.5)).clamp(0, 1)
            new = torch.where((kind < 0.5)[:, None, None], fresh, moved)
            lines = torch.where(chosen[..., None], new, now["lines"])
        return {"x": self.threat.written(now["clean"], lines), "lines": lines}

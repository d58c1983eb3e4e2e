"""A model that may be asked only so many times about each clip."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from advvid.attacks.hyperplane import lengths
from advvid.attacks.problem import Goal, Problem
from advvid.threats.base import AnyNorm, per_clip


@dataclass
class Oracle:
    """Answers of a model, counted for each clip, and the nearest clip so far that was seen to fool.

    A clip whose queries are spent gets no more answers: its rows still pass through the model beside those of others, and
    what comes out is not looked at, so that no result depends on the neighbours and nobody waits for a count.

    Args:
        problem: the clips, and what counts as fooled.
        limit: queries for each clip.
        norm: in which nearness is measured.

    Shape:
        asked: int64 ``[B]``. nearest: like the clips. far: ``[B]``, infinite until a clip was seen to fool. curve: ``[B, M]``,
        how far the nearest one was after each number of queries that ``marks`` names.
    """

    problem: Problem
    limit: int
    norm: AnyNorm = "l2"
    asked: Tensor = field(init=False)
    nearest: Tensor = field(init=False)
    far: Tensor = field(init=False)
    curve: Tensor = field(init=False)
    # The rows that were asked about last, with their clips and goal: most searches ask about the same ones many times.
    _last: tuple[Tensor, Tensor, Goal] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        clips = self.problem.clips
        self.asked = torch.zeros(len(clips), dtype=torch.int64, device=clips.device)
        self.nearest = clips.clone()
        self.far = torch.full((len(clips),), torch.inf, device=clips.device)
        self._marks = torch.tensor(marks(self.limit)).to(clips.device, non_blocking=True)
        self.curve = self.far[:, None].expand(-1, len(self._marks)).clone()

    @torch.no_grad()
    def ask(self, rows: Tensor, x: Tensor, wanted: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Ask about one candidate of each of some clips.

        Args:
            rows: int64 ``[R]``, places in the batch.
            x: candidates ``[R, 3, T, H, W]``.
            wanted: ``bool [R]``, of which clips an answer is wanted; all where None.

        Returns:
            Which candidates fool, and which clips had a query left and were answered, both ``bool [R]``.
        """
        clips, goal = self._of(rows)
        answered = self.asked[rows] < self.limit
        answered = answered if wanted is None else answered & wanted
        hit = goal.reached(self.problem.model(x)) & answered
        self.asked[rows] += answered
        far = lengths(x - clips, self.norm)
        better = hit & (far < self.far[rows])
        self.nearest[rows] = torch.where(per_clip(better, x), x, self.nearest[rows])
        self.far[rows] = torch.where(better, far, self.far[rows])
        later = better[:, None] & (self._marks >= self.asked[rows][:, None])
        self.curve[rows] = torch.where(later, far[:, None], self.curve[rows])
        return hit, answered

    def _of(self, rows: Tensor) -> tuple[Tensor, Goal]:
        if self._last is None or self._last[0] is not rows:
            self._last = (rows, self.problem.clips[rows], self.problem.goal.select(rows))
        return self._last[1:]


def marks(limit: int) -> list[int]:
    """Return the numbers of queries after which a search by labels notes its distance: 1, 2, 5, 10, ... and the limit.

    Example:
        >>> marks(150)
        [1, 2, 5, 10, 20, 50, 100, 150]
    """
    series = (step * 10**power for power in range(len(str(limit))) for step in (1, 2, 5))
    return [*(number for number in series if number < limit), limit]

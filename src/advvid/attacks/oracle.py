"""A model that may be asked only so many times about each clip."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from advvid.attacks.hyperplane import lengths
from advvid.attacks.problem import Problem
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
        asked: int64 ``[B]``. nearest: like the clips. far: ``[B]``, infinite until a clip was seen to fool.
    """

    problem: Problem
    limit: int
    norm: AnyNorm = "l2"
    asked: Tensor = field(init=False)
    nearest: Tensor = field(init=False)
    far: Tensor = field(init=False)

    def __post_init__(self) -> None:
        clips = self.problem.clips
        self.asked = torch.zeros(len(clips), dtype=torch.int64, device=clips.device)
        self.nearest = clips.clone()
        self.far = torch.full((len(clips),), torch.inf, device=clips.device)

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
        answered = self.asked[rows] < self.limit
        answered = answered if wanted is None else answered & wanted
        hit = self.problem.goal.select(rows).reached(self.problem.model(x)) & answered
        self.asked[rows] += answered
        far = lengths(x - self.problem.clips[rows], self.norm)
        better = hit & (far < self.far[rows])
        self.nearest[rows] = torch.where(per_clip(better, x), x, self.nearest[rows])
        self.far[rows] = torch.where(better, far, self.far[rows])
        return hit, answered

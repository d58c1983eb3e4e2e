"""Rectangular occlusion: PGD inside a rectangle whose place may be searched for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from advvid.attacks.base import AttackResult
from advvid.attacks.filled import FilledAttack
from advvid.attacks.problem import Problem
from advvid.attacks.search import looks_now
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, NotNegativeNumber, Positive, Step
from advvid.threats.base import Aux
from advvid.threats.rectangles import Rectangles

# Places tried on a GPU after which it looks who was fooled.
LOOK_EVERY = 10


@dataclass(frozen=True, kw_only=True)
class ROA(FilledAttack):
    """Rectangular occlusion attack (Wu et al. 2020, "Defending against physically realizable attacks"; Lo & Patel).

    Distance: l-inf inside a square. Lo & Patel's code draws a square for each frame and does not search; Wu et al. find
    the place at which a grey square raises the loss most, and then run PGD inside it.

    Args:
        side: of the square in pixels at 112 x 112, scaled by side / 112 (9 at 32 x 32).
        per_frame: a square at a place of its own in each frame, only with ``search=random``.
        search: ``random``; ``exhaustive`` tries a grey square at every place of the grid; ``gradient`` tries it only
            at the ``candidates`` places that hold most of the gradient's magnitude.
        stride: of the grid, in pixels at 112 x 112, scaled and at least 1.
        candidates: places that ``search=gradient`` tries.
        queries_per_batch: places of a clip that one pass of the network tries. More take so much more memory, and keep a GPU
            busy with few clips; the place found is the same.
        eps: largest change of a value inside; 1 is no bound.

    Other arguments: see ``FilledAttack`` and ``GradientAttack``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``aux["mask"]`` is ``bool [B, 1, 1 or T, H, W]``.
        ``gradient_calls`` includes the one that ranks places.

    Example:
        >>> ROA(search="exhaustive", per_frame=False).threat.pixels(32, 32)
        9
    """

    eps: NotNegativeNumber = 1.0
    step_size: Step = "70/255"
    steps: Count = 5
    side: Positive = 30.0
    per_frame: bool = True
    search: Literal["random", "exhaustive", "gradient"] = "random"
    stride: Positive = 5.0
    candidates: Count = 30
    queries_per_batch: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.search != "random" and self.per_frame:
            raise AdvvidError(f"search={self.search} looks for one place for the clip: set per_frame=false")

    @property
    def varies(self) -> bool:
        """Whether the start or the place is drawn anew."""
        return self.random_start or self.search == "random"

    @property
    def threat(self) -> Rectangles:
        """All squares of the side."""
        return Rectangles(self.radius, self.space, self.side, self.per_frame)

    def _one_start(self, problem: Problem) -> AttackResult:
        result = super()._one_start(problem)
        ranked = int(self.search == "gradient")
        return dataclasses.replace(result, gradient_calls=result.gradient_calls + ranked)

    def _choose(self, problem: Problem) -> Aux:
        if self.search == "random":
            return super()._choose(problem)
        clips = problem.clips
        tops, lefts = self.grid(*clips.shape[-2:])
        places = torch.cartesian_prod(tops, lefts).to(clips.device, non_blocking=True).expand(len(clips), -1, -1)
        if self.search == "gradient":
            places = self._ranked(problem, places)
        return {"mask": self._best(problem, places)}

    def grid(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return the rows and columns at which squares begin, the last possible ones included."""
        side, stride = self.threat.pixels(height, width), max(1, int(self.stride * min(height, width) / 112 + 0.5))
        tops, lefts = (
            torch.tensor(sorted({*range(0, extent - side + 1, stride), extent - side})) for extent in (height, width)
        )
        return tops, lefts

    def _ranked(self, problem: Problem, places: Tensor) -> Tensor:
        """Return the places of each clip that hold most of its gradient, ``[B, candidates, 2]``."""
        x = problem.clips.detach().requires_grad_()
        (grad,) = torch.autograd.grad(problem.goal.loss(problem.model(x)).sum(), x)
        held = F.avg_pool2d(grad.abs().sum(dim=(1, 2))[:, None], self.threat.pixels(*x.shape[-2:]), stride=1)[:, 0]
        score = held.flatten(1).gather(1, places[..., 0] * held.shape[2] + places[..., 1])
        best = score.topk(min(self.candidates, score.shape[1]), dim=1).indices
        return places.gather(1, best[..., None].expand(-1, -1, 2))

    @torch.no_grad()
    def _best(self, problem: Problem, places: Tensor) -> Tensor:
        """Try a plain square at each place and return the mask of the worst one: one that fools, else most loss."""
        threat, clips, size = self.threat, problem.clips, problem.clips.shape[-2:]
        chosen = places[:, 0].clone()
        worst = torch.full((len(clips),), -torch.inf, device=clips.device)
        left = torch.arange(len(clips), device=clips.device)
        for nth, tried in enumerate(places.split(self.queries_per_batch, dim=1)):
            several = tried.shape[1]
            spot, rows = tried[left].flatten(0, 1), left.repeat_interleave(several)
            aux = {"mask": threat.place(spot[:, :1], spot[:, 1:], *size)}
            here = problem.goal.select(rows)
            out = problem.model(self.filled(clips[rows], aux))
            loss = torch.where(here.reached(out), torch.inf, here.loss(out).to(worst))
            # The first of equal places; one whose loss is not a number is none.
            score, at = torch.where(loss.isnan(), -torch.inf, loss).view(-1, several).max(dim=1)
            better = score > worst[left]
            chosen[left] = torch.where(better[:, None], tried[left, at], chosen[left])
            worst[left] = torch.where(better, score, worst[left])
            # Nothing beats a place that fools, so clips may leave whether or not the search exits early.
            if looks_now(nth, clips.device, max(1, LOOK_EVERY // self.queries_per_batch)):
                left = left[worst[left] < torch.inf]
                if not len(left):
                    break
        return threat.place(chosen[:, :1], chosen[:, 1:], *size)

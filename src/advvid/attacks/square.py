"""Square: a random search that needs the model's answers only, on cuboids in time and space."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Le
from torch import Tensor

from advvid.attacks.base import AttackResult
from advvid.attacks.problem import Problem
from advvid.attacks.proposals import ProposalSearch, State
from advvid.core.batch import Space
from advvid.core.kinds import NotNegativeNumber, Numeral
from advvid.threats.balls import L2Ball, LinfBall, ball
from advvid.threats.base import draw, per_clip

# Iterations (of 10,000) at which the share of the clip that a cuboid covers is halved, Andriushchenko et al. 2020,
# sec. 5; other numbers of queries stretch the schedule.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
# Uniform numbers that one move of one clip uses: a cuboid's form or a bump's direction, a first frame, two places; and channels' signs.
PLACES = 6


@dataclass(frozen=True, kw_only=True)
class Square(ProposalSearch):
    """Square attack (Andriushchenko et al. 2020), extended from squares of an image to cuboids of a clip.

    It changes one cuboid at a time and keeps what lowers the label's margin; it computes no gradient, so that a
    defense that hides gradients does not stop it. Distance: l-inf or l2 over the whole clip.

    Args:
        eps: budget, a number or a fraction such as ``"8/255"``.
        norm: ``linf`` or ``l2``.
        p_init: part of the clip that the first cuboids cover, in (0, 1].
            Other arguments: see ``ProposalSearch``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``aux["queries"]`` is
        int ``[B]``; ``gradient_calls`` is 0.

    Example:
        >>> Square(eps="8/255", queries=1000).threat.budget
        'l-inf 8/255'
    """

    eps: NotNegativeNumber = "8/255"
    norm: Literal["linf", "l2"] = "linf"
    p_init: Annotated[float, Numeral(), Gt(0), Le(1)] = 0.8

    @property
    def threat(self) -> LinfBall | L2Ball:
        """The norm ball of radius eps, cut by the range of valid pixels."""
        return ball(self.norm, float(self.eps), self.space)

    @property
    def _moves(self) -> LinfMoves | L2Moves:
        return (LinfMoves if self.norm == "linf" else L2Moves)(float(self.eps), self.space)

    def _begin(self, problem: Problem) -> State:
        clips, generators = problem.clips, problem.generators
        width, channels = clips.shape[-1], clips.shape[1]
        return {
            "stripes": draw("rand", (channels, width, width), generators, clips),
            "numbers": draw("rand", (self.queries, PLACES + channels), generators, clips),
        }

    def _propose(self, now: State, query: int) -> State:
        if query == 1:
            return {"x": self._moves.first(now["clean"], now["stripes"])}
        part = share(query - 1, self.queries, float(self.p_init))
        return {"x": self._moves.next(now["x"], now["clean"], now["numbers"][:, query], part)}

    def _better(self, now: State, hit: Tensor, value: Tensor, query: int) -> Tensor:
        # The clean clip's margin is not the one to beat: the stripes are where the search begins.
        return torch.ones_like(hit) if query == 1 else super()._better(now, hit, value, query)

    def _search(self, problem: Problem) -> AttackResult:
        result = super()._search(problem)
        # Many moves add up to rounding over the budget.
        return dataclasses.replace(result, x_adv=self.threat.project(result.x_adv, problem.clips))


def share(step: int, steps: int, p_init: float) -> float:
    """Return the part of the clip that a cuboid covers at a step.

    Example:
        >>> share(0, 5000, 0.8), share(4999, 5000, 0.8)
        (0.8, 0.0015625)
    """
    scaled = int(step / max(steps, 1) * 10000)
    return p_init / 2 ** sum(scaled > mark for mark in HALVINGS)


def pick(u: Tensor, count: Tensor | int) -> Tensor:
    """Turn numbers uniform in [0, 1) into whole numbers uniform in ``0 … count - 1``."""
    # Rounding may carry u * count to count itself.
    return (u * count).long().clamp(max=count - 1)


def span(first: Tensor, length: Tensor | int, size: int) -> Tensor:
    """Return ``bool [B, size]``, true for ``length`` places from ``first`` on."""
    place = torch.arange(size, device=first.device) - first[:, None]
    return (place >= 0) & (place < (length[:, None] if isinstance(length, Tensor) else length))


def extent(share: float, frames: int, height: int, width: int, brief: bool = False) -> tuple[int, int]:
    """Return how many frames a cuboid spans, and its side in each.

    A cuboid holds ``share`` of the clip's values as the image's square holds ``share`` of the image's. Either frames and side
    shrink alike, or, in brief ones, the frames shrink first and the square stays as large as it can. Which fools more clips
    within the same queries differs from network to network, so that l-inf's search tries both by turns of a coin; squares
    of ``share`` of a frame over any number of frames, too narrow in space and too long in time, fool far fewer.

    Example:
        >>> extent(0.8, 16, 112, 112), extent(0.05, 16, 112, 112), extent(0.05, 1, 112, 112)
        ((15, 103), (6, 41), (1, 25))
        >>> extent(0.05, 16, 112, 112, brief=True)
        (1, 100)
    """
    length = max(1, min(frames, round(frames * share ** (1 if brief else 1 / 3))))
    side = round(math.sqrt(share * height * width * frames / length))
    return length, max(1, min(side, min(height, width) - 1))


def signs(u: Tensor) -> Tensor:
    """Turn uniform numbers into -1 and 1."""
    return (u >= 0.5).to(u.dtype) * 2 - 1


@dataclass(frozen=True)
class LinfMoves:
    """Cuboids in which every channel goes to one end of its interval (Andriushchenko et al. 2020, algorithm 2).

    The image's squares become cuboids: a square of the frame over a range of frames, long or brief, see ``extent``.
    """

    eps: float
    space: Space

    def first(self, x: Tensor, u: Tensor) -> Tensor:
        """Return vertical stripes of random sign, the same in all frames.

        Shape:
            x: ``[B, C, T, H, W]``; u: uniform ``[B, C, W, W]``, of which the first row is used.
        """
        return self.space.clamp(x + self.eps * signs(u[:, :, 0])[:, :, None, None])

    def next(self, best: Tensor, x: Tensor, u: Tensor, share: float) -> Tensor:
        """Return the best clip with one cuboid set anew.

        Shape:
            best, x: ``[B, C, T, H, W]``; u: uniform ``[B, PLACES + C]``.
        """
        frames, height, width = x.shape[2:]
        alike, brief = (extent(share, frames, height, width, form) for form in (False, True))
        length, side = (torch.where(u[:, 0] < 0.5, b, a) for a, b in zip(alike, brief, strict=True))
        start = pick(u[:, 1], frames - length + 1)
        rows = span(pick(u[:, 2], height - side + 1), side, height)
        columns = span(pick(u[:, 3], width - side + 1), side, width)
        cuboid = (
            span(start, length, frames)[:, None, :, None, None] & (rows[:, :, None] & columns[:, None])[:, None, None]
        )
        sign = signs(u[:, PLACES:])[..., None, None, None]
        return torch.where(cuboid, self.space.clamp(x + self.eps * sign), best)


@dataclass(frozen=True)
class L2Moves:
    """Two cuboids, of which one gives its change to the other (Andriushchenko et al. 2020, algorithm 3)."""

    eps: float
    space: Space

    def first(self, x: Tensor, u: Tensor) -> Tensor:
        """Return a grid of five by five bumps of random sign, the same in all frames, of norm eps."""
        height, width = x.shape[-2:]
        side = max(1, min(height, width) // 5)
        table = bumps(side).to(x, non_blocking=True)
        row, column = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
        tile = signs(u)[:, :, row[:, None] // side % u.shape[2], column // side]
        delta = (tile * table[row[:, None] % side, column % side])[:, :, None].expand_as(x)
        return self.space.clamp(x + delta * per_clip(self.eps / _norm(delta, (1, 2, 3, 4)).flatten(), x))

    def next(self, best: Tensor, x: Tensor, u: Tensor, share: float) -> Tensor:
        """Return the best clip with the mass of a second cuboid, and what the budget has left, moved into a first."""
        frames, height, width = x.shape[2:]
        largest = min(height, width)
        length, side = extent(share, frames, height, width)
        # Odd, so that a bump has a middle.
        side = min(max(3, side // 2 * 2 + 1), largest - (largest + 1) % 2)
        time = span(pick(u[:, 1], frames - length + 1), length, frames)[:, None, :, None, None]
        top, left = pick(u[:, 2], height - side + 1), pick(u[:, 3], width - side + 1)
        first = time & _square(top, left, side, height, width)
        second = time & _square(pick(u[:, 4], height - side + 1), pick(u[:, 5], width - side + 1), side, height, width)
        delta = best - x
        inside = (2, 3, 4)
        unused = (self.eps**2 - _norm(delta, (1, 2, 3, 4)).square()).clamp_min(0)
        room = (_norm(delta * (first | second), inside).square() + unused / x.shape[1]).sqrt()
        bump = self._bump(x, top, left, side, u) * first
        mixed = signs(u[:, PLACES:])[..., None, None, None] * bump / _norm(bump, inside)
        mixed = mixed + delta * first / _norm(delta * first, inside)
        delta = torch.where(first, mixed / _norm(mixed, inside) * room, torch.where(second, 0.0, delta))
        return self.space.clamp(x + delta)

    def _bump(self, x: Tensor, top: Tensor, left: Tensor, side: int, u: Tensor) -> Tensor:
        """Return the pair of bumps placed in each frame, ``[B, 1, 1, H, W]``, lying or standing at random."""
        height, width = x.shape[-2:]
        row = (torch.arange(height, device=x.device) - top[:, None]).clamp(0, side - 1)[:, :, None]
        column = (torch.arange(width, device=x.device) - left[:, None]).clamp(0, side - 1)[:, None]
        table = bumps(side).to(x, non_blocking=True)
        standing = (u[:, 0] < 0.5)[:, None, None]
        return torch.where(standing, table[row, column], table[column, row])[:, None, None]


def bumps(side: int) -> Tensor:
    """Return a square with a positive and a negative bump side by side (Andriushchenko et al. 2020, eq. 3).

    Shape:
        result: ``[side, side]``.
    """
    left = side // 2
    return torch.cat([_bump(side, left), -_bump(side, side - left)], dim=1)


def _bump(height: int, width: int) -> Tensor:
    half = height // 2
    row = (torch.arange(height) - half).abs()[:, None]
    column = (torch.arange(width) - width // 2).abs()[None]
    terms = 1 / (half + 1 - torch.arange(half + 1.0)).square()
    reach = (half - torch.maximum(row, column)).clamp(0, half)
    return terms.cumsum(dim=0)[reach]


def _square(top: Tensor, left: Tensor, side: int, height: int, width: int) -> Tensor:
    return (span(top, side, height)[:, :, None] & span(left, side, width)[:, None])[:, None, None]


def _norm(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Return the l2 norm over some dimensions, kept and never zero, so that it may divide."""
    return x.square().sum(dim=dims, keepdim=True).sqrt().clamp_min(1e-30)

"""Tries inside of what is proved: many changed clips for each answer, judged as the certificate defines an answer.

Half of the tries are random and as far away as is proved. The others are the points of ascents against the proved
answer, each from a random place of that kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from advvid.analyses.smoothed import SmoothedScores, counts, predict
from advvid.attacks.hyperplane import lengths, scaled
from advvid.core.batch import Space
from advvid.models.ablated import Keep, Voted, winner
from advvid.tasks.classification import Classification
from advvid.threats.balls import L2Ball
from advvid.threats.base import draw

# Points of one ascent.
STEPS = 10
# Noisy clips that a try is first judged by, and how many of them settle that it is no success: an answer that does not lead
# on the try has so many with a probability of 0.021 at most.
LOOKS, SETTLED = 20, 15
# Clips that a voting model is shown at once.
TOGETHER = 64


def tries_in_radius(
    scores: SmoothedScores,
    clip: Tensor,
    proved: tuple[int, float],
    number: int,
    judges: tuple[int, float],
    generator: torch.Generator,
) -> list[int | None]:
    """Return a smoothed model's answers to clips within the certified l2 radius of one clip.

    Values may leave [0, 1], where the proof holds too. A try on which most of a few noisy clips get the proved answer is no
    success; every other one is judged by ``predict``.

    Args:
        scores: the mean probability over fixed noise, which ascents see.
        clip: ``[3, T, H, W]``.
        proved: the answer and its radius.
        number: how many.
        judges: draws and alpha of ``predict``.
        generator: of everything random, on the CPU.

    Returns:
        an answer for each try, None where the model abstains.
    """
    answer, radius = proved
    ball = L2Ball(radius * (1 - 1e-5), Space(-math.inf, math.inf))  # rounding must not lead out of what is proved
    random, ascents = _halves(number)
    ways = draw("randn", (random + ascents, *clip.shape), [generator], clip)[0]
    starts = ball.project(clip + scaled(ways, radius / lengths(ways, "l2").clamp_min(1e-30)), clip)

    def step(x: Tensor) -> Tensor:
        return ball.project(ball.ascend(x, _against(scores, x, answer), 2.5 * radius / STEPS), clip)

    found: list[int | None] = []
    for tried in _points(starts, random, step)[:number]:
        seen = counts(scores.model, tried, scores.sigma, LOOKS, generator)
        settled = int(seen[answer]) >= SETTLED
        found.append(answer if settled else predict(scores.model, tried, scores.sigma, *judges, generator))
    return found


def tries_in_places(
    voted: Voted, clip: Tensor, answer: int, places: Callable[[int], Tensor], number: int, generator: torch.Generator
) -> list[int]:
    """Return a voting model's answers to one clip with other values in places that its certificate allows.

    Args:
        voted: the model.
        clip: ``[3, T, H, W]``.
        answer: that is proved.
        places: draws where clips change, ``bool [n, 1, T, H, W]``.
        number: how many.
        generator: of the values, on the CPU.
    """
    random, ascents = _halves(number)
    where = places(random + ascents).to(clip.device)
    values = draw("rand", (random + ascents, *clip.shape), [generator], clip)[0]
    free = where[random:]

    def step(x: Tensor) -> Tensor:
        moved = (x + _against(voted, x, answer).sign() * (2.5 / STEPS)).clamp(0, 1)
        return torch.where(free, moved, x)

    points = _points(torch.where(where, values, clip), random, step)[:number]
    return [int(found) for part in points.split(TOGETHER) for found in winner(voted.votes(part)).tolist()]


def changed_places(
    keep: Keep, changed: int, anywhere: bool, shape: Sequence[int], number: int, generator: torch.Generator
) -> Tensor:
    """Draw where clips change: frames, anywhere or in a row, or a square at one place; ``bool [number, 1, T, H, W]``.

    Args:
        keep: ``frames`` or, for a square, ``columns``.
        changed: how many frames, or the square's side.
        anywhere: whether frames need not lie in a row.
        shape: of a clip, ``(3, T, H, W)``.
        number: of draws.
        generator: of the places.

    Example:
        >>> changed_places("frames", 2, True, (3, 8, 4, 4), 5, generator)[:, 0, :, 0, 0].sum(dim=1)     # doctest: +SKIP
        tensor([2, 2, 2, 2, 2])
    """
    _, frames, height, width = shape
    if keep == "columns":
        rows, columns = (_in_a_row(changed, length, number, generator) for length in (height, width))
        return (rows[:, :, None] & columns[:, None, :])[:, None, None].expand(-1, -1, frames, -1, -1)
    if anywhere:
        which = torch.rand(number, frames, generator=generator).argsort(dim=1).argsort(dim=1) < changed
    else:
        which = _in_a_row(changed, frames, number, generator)
    return which[:, None, :, None, None]


def _in_a_row(changed: int, length: int, number: int, generator: torch.Generator) -> Tensor:
    first = torch.randint(length - changed + 1, (number, 1), generator=generator)
    place = torch.arange(length)
    return (place >= first) & (place < first + changed)


def _halves(number: int) -> tuple[int, int]:
    """Return how many tries are random, and how many ascents give the others."""
    return number // 2, math.ceil((number - number // 2) / STEPS)


def _points(starts: Tensor, random: int, step: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the random tries and the points of the ascents, which begin at the last of ``starts``."""
    points, x = [starts[:random]], starts[random:]
    for _ in range(STEPS if len(x) else 0):
        x = step(x)
        points.append(x)
    return torch.cat(points)


def _against(model: nn.Module, x: Tensor, answer: int) -> Tensor:
    """Return the direction in which an answer loses its lead, like ``x``."""
    point = x.detach().requires_grad_()
    lead = Classification().margin(model(point), torch.full((len(x),), answer, device=x.device))
    (gradient,) = torch.autograd.grad(lead.sum(), point)
    return -gradient

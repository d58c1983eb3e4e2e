"""SurFree: the smallest l2 change by labels only, along arcs of circles and without estimating a normal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from advvid.attacks.hyperplane import lengths, scaled
from advvid.attacks.label_search import LabelAttack
from advvid.attacks.oracle import Oracle
from advvid.attacks.waves import low_waves
from advvid.core.kinds import Count, Positive, ShareNumber
from advvid.core.numbers import parse_number
from advvid.threats.base import draw, per_clip

# Angles tried in a direction, as parts of the largest; halvings of the angle that fools; by how much the largest changes
# (the paper: T = 3; until 1 - cos is known to 0.01; rho = 0.98).
TRIED = (1.0, 2 / 3, 1 / 3)
HALVINGS = 4
CHANGE = 0.98


@dataclass(frozen=True, kw_only=True)
class SurFree(LabelAttack):
    """SurFree (Maho, Furon & Le Merrer 2021, "SurFree: a fast surrogate-free black-box attack", algorithm 1): labels only.

    Between the clean clip and the present one lies a diameter. A random direction at a right angle to it spans a circle with it, every
    point of which is nearer to the clean clip than the present one, by ``cos(angle)``; where a small angle fools, the
    largest one that does is looked for by halving. No query is spent on estimating a normal. Distance: l2 over the whole
    clip.

    Args:
        angle: largest angle tried at first, in degrees; it shrinks while directions fail and grows while they succeed.
        frequencies: part of the cosine waves' frequencies along time, rows and columns that directions are made of, the low ones
            (the paper: 1/2 of an image's, weighted by the image).
        remembered: earlier directions that a new one is at a right angle to.
            Other arguments and shapes: see ``LabelAttack``.

    Example:
        >>> SurFree(queries=1000).notes(5)[0]
        'SurFree sees the answer only, no scores, and asks at most 1000 times about each clip.'
    """

    angle: Positive = 30.0
    frequencies: ShareNumber = "1/2"
    remembered: Count = 100

    def _nearer(self, oracle: Oracle, rows: Tensor, rounds: Tensor) -> None:
        problem = oracle.problem.select(rows)
        waves = low_waves(problem.clips, parse_number(self.frequencies))
        numbers = (problem.clips.shape[1], *(len(wave) for wave in waves))
        now = {
            "row": rows,
            "x": self._to_boundary(oracle, rows, oracle.nearest[rows]),
            "largest": torch.full((len(rows),), math.radians(self.angle), device=rows.device),
            "past": problem.clips.new_zeros(len(rows), self.remembered, math.prod(numbers)),
        }
        number = 0
        while len(now["row"]):
            drawn = draw("randn", (math.prod(numbers),), problem.generators, problem.clips)
            drawn = now["past"][:, number % self.remembered] = _upright(drawn, now["past"])
            number += 1
            rounds[now["row"]] = number
            aside = torch.einsum("bcijk,it,jh,kw->bcthw", drawn.view(-1, *numbers), *waves)
            now["x"], now["largest"] = self._turned(oracle, now, aside)
            kept = (oracle.asked[now["row"]] < self.queries).nonzero().squeeze(1)
            if len(kept) < len(now["row"]):
                now, problem = {name: value[kept] for name, value in now.items()}, problem.select(kept)

    def _turned(self, oracle: Oracle, now: dict[str, Tensor], aside: Tensor) -> tuple[Tensor, Tensor]:
        """Return the clips after the best turn in a direction, and the largest angles of the next one."""
        rows, x, largest = now["row"], now["x"], now["largest"]
        clean = oracle.problem.clips[rows]
        far = lengths(x - clean, "l2")
        along = scaled(x - clean, 1 / far.clamp_min(1e-30))
        aside = aside - scaled(along, (along * aside).flatten(1).sum(dim=1))
        aside = scaled(aside, 1 / lengths(aside, "l2").clamp_min(1e-30))

        def at(angle: Tensor) -> Tensor:
            turned = scaled(along, angle.cos()) + scaled(aside, angle.sin())
            return self.space.clamp(clean + scaled(turned, far * angle.cos()), clean)

        good, bad = torch.zeros_like(largest), torch.zeros_like(largest)
        waiting = torch.ones_like(largest, dtype=torch.bool)
        before = 1 + TRIED[-1]
        for part in TRIED:
            for sign in (1, -1):
                hit, answered = oracle.ask(rows, at(sign * part * largest), waiting)
                good = torch.where(hit, sign * part * largest, good)
                bad = torch.where(hit, sign * before * largest, bad)
                waiting = waiting & answered & ~hit
            before = part
        found = good != 0
        for _ in range(HALVINGS):
            middle = (good + bad) / 2
            hit, answered = oracle.ask(rows, at(middle), found)
            good, bad = torch.where(hit, middle, good), torch.where(answered & ~hit, middle, bad)
        x = torch.where(per_clip(found, x), at(good), x)
        return x, torch.where(found, largest / CHANGE, largest * CHANGE).clamp_max(math.pi / 2)


def _upright(drawn: Tensor, past: Tensor) -> Tensor:
    """Return directions ``[B, N]`` at right angles to earlier ones ``[B, M, N]`` of unit length or zero, of unit length."""
    left = drawn - torch.einsum("bm,bmn->bn", torch.einsum("bn,bmn->bm", drawn, past), past)
    # A small space is soon used up; then the direction itself has to do.
    spent = left.norm(dim=1) < 0.1 * drawn.norm(dim=1)
    left = torch.where(spent[:, None], drawn, left)
    return left / left.norm(dim=1, keepdim=True).clamp_min(1e-30)

"""Heuristic video attack: labels only, on the frames and regions that matter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from advvid.attacks.base import AttackResult
from advvid.attacks.hop_skip_jump import HopSkipJump
from advvid.attacks.hyperplane import lengths, scaled
from advvid.attacks.oracle import Oracle
from advvid.attacks.problem import Problem
from advvid.core.kinds import Share
from advvid.threats.base import per_clip

# Halvings by which the boundary is looked for where its place need not be exact.
COARSE = 6


@dataclass(frozen=True, kw_only=True)
class HeuristicVideo(HopSkipJump):
    """Heuristic black-box attack on videos (Wei et al. 2020, algorithm 1): labels only, sparse in time and space.

    From a clip that fools, the change is taken back outside the salient region of every frame, then frame by frame,
    wherever that brings the boundary no farther away. The order of the frames is the paper's heuristic: each is put back by
    itself, and the one without which the boundary is nearest comes first. The search for the boundary then changes
    what is left, some frames' salient regions, so that each answer tells more. Distance: l2 over the clip.

    The paper searches the boundary by the method of Cheng et al. 2019; here it is HopSkipJump. Its salient regions come
    from a detector; here they are where colours differ from what surrounds them, at two scales.

    Args:
        area: part of each frame that is called salient (the paper's phi: 0.6); 1 for whole frames.
            Other arguments and shapes: see ``HopSkipJump``; ``aux["frames"]`` is bool ``[B, T]``, the frames that change.

    Example:
        >>> HeuristicVideo(queries=1000).notes(5)[0]
        'HeuristicVideo sees the answer only, no scores, and asks at most 1000 times about each clip.'
    """

    area: Share = 0.6

    def _confined(self, oracle: Oracle, rows: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
        clean = oracle.problem.clips[rows]
        region = torch.ones_like(clean[:, :1], dtype=torch.bool)
        far = self._reach(oracle, rows, x)
        if self.area < 1:
            x, region, far = self._smaller(oracle, rows, x, (region, far), salient_region(clean, self.area))
        frames = torch.arange(clean.shape[2], device=x.device)
        without = [self._reach(oracle, rows, torch.where(_at(frames == t), clean, x)) for t in frames.tolist()]
        for frame in torch.stack(without, dim=1).argsort(dim=1).unbind(dim=1):
            others = region & ~_at(frames == frame[:, None])
            x, region, far = self._smaller(oracle, rows, x, (region, far), others)
        return x, region

    def _smaller(
        self, oracle: Oracle, rows: Tensor, x: Tensor, now: tuple[Tensor, Tensor], region: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return clips changed in a smaller region, that region and how far the boundary is, where it is no farther than now."""
        tried = torch.where(region, x, oracle.problem.clips[rows])
        far = self._reach(oracle, rows, tried)
        better = far <= now[1]
        better = better & far.isfinite()
        return (
            torch.where(per_clip(better, x), tried, x),
            torch.where(per_clip(better, region), region, now[0]),
            torch.where(better, far, now[1]),
        )

    def _reach(self, oracle: Oracle, rows: Tensor, x: Tensor) -> Tensor:
        """Return how far the boundary is on the way to ``x``, coarsely, ``[R]``; infinite where ``x`` does not fool."""
        change = x - oracle.problem.clips[rows]
        hit, _ = oracle.ask(rows, x)
        low, high = torch.zeros(len(rows), device=x.device), torch.where(hit, 1.0, torch.inf)
        for _ in range(COARSE):
            middle = (low + high) / 2
            fools, answered = oracle.ask(rows, x - change + scaled(change, middle.clamp_max(1)), hit)
            low, high = torch.where(answered & ~fools, middle, low), torch.where(fools, middle, high)
        return lengths(change, "l2") * high

    def _search(self, problem: Problem) -> AttackResult:
        result = super()._search(problem)
        result.aux["frames"] = (result.x_adv != problem.clips).any(dim=(1, 3, 4))
        return result


def _at(chosen: Tensor) -> Tensor:
    """Return chosen frames ``bool [T]`` or ``[B, T]`` so that they broadcast over clips."""
    return chosen.view(-1, 1, chosen.shape[-1], 1, 1)


def salient_region(clips: Tensor, area: float) -> Tensor:
    """Return where each frame differs most from its surroundings.

    Args:
        clips: ``[B, C, T, H, W]``.
        area: part of each frame.

    Shape:
        result: ``bool [B, 1, T, H, W]``.
    """
    size, channels, frames, height, width = clips.shape
    flat = clips.transpose(1, 2).reshape(size * frames, channels, height, width)
    contrast = torch.zeros_like(flat[:, :1])
    for part in (8, 4):
        reach = max(1, min(height, width) // part) // 2
        around = F.avg_pool2d(flat, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)
        contrast = contrast + (flat - around).abs().mean(dim=1, keepdim=True)
    # What belongs to a thing lies beside its edges.
    contrast = F.avg_pool2d(contrast, 3, stride=1, padding=1, count_include_pad=False)
    number = max(1, round(area * height * width))
    least = contrast.flatten(1).topk(number, dim=1).values[:, -1]
    return (contrast >= per_clip(least, contrast)).view(size, 1, frames, height, width)

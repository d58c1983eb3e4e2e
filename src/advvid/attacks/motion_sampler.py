"""Motion-excited sampler: noise that moves with what moves in the clip, from scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from advvid.attacks.problem import Problem
from advvid.attacks.warped_noise import WarpedNoise
from advvid.core.kinds import Positive, Whole
from advvid.threats.base import draw


@dataclass(frozen=True, kw_only=True)
class MotionSampler(WarpedNoise):
    """Motion-excited sampler (Zhang et al. 2020, ECCV, "sparked prior", algorithm 1), from the model's scores alone.

    The noise of the first frame is carried to the others along the clip's own motion, so that a point of a moving thing
    has the same noise in every frame. The motion is found as codecs find their motion vectors, which the paper takes
    from the file: each block of a frame is looked for in the frame before. Distance: l-inf.

    Args:
        block: side of a block in pixels at 112 x 112, scaled by the shorter side / 112 and at least 1 (codecs: 16).
        search: largest motion between two frames in pixels at 112 x 112, scaled likewise and rounded up.
            Other arguments: see ``WarpedNoise`` and ``ScoreAscent``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``aux["queries"]`` is
        int ``[B]``; ``gradient_calls`` is 0.

    Example:
        >>> MotionSampler(queries=1000).notes(5)[0]
        'MotionSampler sees scores and asks at most 1000 times about each clip.'
    """

    block: Positive = 16.0
    search: Whole = 7

    def _known(self, clips: Tensor) -> dict[str, Tensor]:
        shorter = min(clips.shape[-2:])
        block = min(shorter, max(1, int(self.block * shorter / 112 + 0.5)))
        return {"origin": origins(clips, block, -(-self.search * shorter // 112))}

    def _noise(self, problem: Problem, now: dict[str, Tensor]) -> Tensor:
        x, origin = now["x"], now["origin"]
        frame = draw("randn", (x.shape[1], x[0, 0, 0].numel()), problem.generators, x)
        return frame.gather(2, origin[:, None].expand(-1, x.shape[1], -1)).view_as(x)


def origins(clips: Tensor, block: int, search: int) -> Tensor:
    """Return where each pixel of each frame was in the first frame, by the motion of blocks.

    Args:
        clips: ``[B, C, T, H, W]``.
        block: side in pixels.
        search: largest motion between two frames in pixels.

    Shape:
        result: int64 ``[B, T * H * W]``, places in the first frame, row by row; motion out of the frame ends at its border.
    """
    size, _, frames, height, width = clips.shape
    row, column = torch.arange(height, device=clips.device), torch.arange(width, device=clips.device)
    place = (row[:, None] * width + column).expand(size, -1, -1).flatten(1)
    if frames == 1:
        return place
    # No motion comes first, so that it wins where nothing is better.
    steps = sorted(
        ((dy, dx) for dy in range(-search, search + 1) for dx in range(-search, search + 1)),
        key=lambda step: (abs(step[0]) + abs(step[1]), step),
    )
    now, before = clips[:, :, 1:], clips[:, :, :-1]
    best = torch.full((size, frames - 1, height, width), torch.inf, device=clips.device)
    came = (row[:, None] * width + column).expand_as(best).clone()
    for dy, dx in steps:
        rows, columns = (row + dy).clamp(0, height - 1), (column + dx).clamp(0, width - 1)
        far = (now - before[..., rows, :][..., columns]).abs().mean(dim=1)
        # The mean over each block; the last ones may be smaller.
        mean = F.avg_pool2d(far, block, ceil_mode=True, count_include_pad=False)
        cost = mean[..., row // block, :][..., column // block]
        better = cost < best - 1e-6
        best = torch.where(better, cost, best)
        came = torch.where(better, rows[:, None] * width + columns, came)
    found = [place]
    for frame in range(frames - 1):
        found.append(found[-1].gather(1, came[:, frame].flatten(1)))
    return torch.cat(found, dim=1)

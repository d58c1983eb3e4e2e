"""What the motion-excited sampler and GEO-TRAP share: one frame of noise a step, warped to the others."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from advvid.attacks.hyperplane import scaled
from advvid.attacks.problem import Problem
from advvid.attacks.score_ascent import ScoreAscent
from advvid.core.kinds import Positive, PositiveNumber


@dataclass(frozen=True, kw_only=True)
class WarpedNoise(ScoreAscent):
    """Three queries a step: two on either side of a remembered direction, along a frame of noise warped to all frames.

    The direction g becomes ``g + rate (m(g - d r) - m(g + d r)) / (d h) r``, where m is the margin after a step of length h in each
    frame along its argument and r the warped noise (Ilyas et al. 2019, algorithm 2, as Zhang et al. and Li et al. use it).

    Args:
        exploration: size d of the noise beside the direction (both papers' code: 0.1).
        reach: l2 length h, in each frame at 112 x 112, of what is asked about, scaled by the shorter side / 112 (both papers' code:
            0.1, at which the difference of two float32 scores is largely rounding).
        rate: of learning (both papers' code: 0.1).
            Other arguments: see ``ScoreAscent``.
    """

    exploration: Positive = 0.1
    reach: PositiveNumber = 1.0
    rate: Positive = 0.1

    @abstractmethod
    def _noise(self, problem: Problem, now: dict[str, Tensor]) -> Tensor:
        """Draw a frame of noise for each clip and return it warped to all frames, like the clips."""

    def _slope(self, problem: Problem, now: dict[str, Tensor]) -> Tensor:
        goal, model, x, memory = problem.goal, problem.model, now["x"], now["memory"]
        noise = self._noise(problem, now)
        reach = float(self.reach) * min(x.shape[-2:]) / 112
        behind, before = (
            goal.ahead(model(x + reach * each_frame(memory + sign * self.exploration * noise))) for sign in (-1, 1)
        )
        return memory + scaled(noise, self.rate * (behind - before) / (self.exploration * reach))


def each_frame(direction: Tensor) -> Tensor:
    """Scale every frame of ``[B, C, T, H, W]`` to unit l2 length; a frame of zeros stays."""
    return direction / direction.square().sum(dim=(1, 3, 4), keepdim=True).sqrt().clamp_min(1e-8)

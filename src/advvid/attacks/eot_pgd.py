"""EOT-PGD: PGD through a random model, on the mean gradient of several draws."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import count

from torch import Tensor

from advvid.attacks.expectation import draw_seeds, expected_loss
from advvid.attacks.pgd import PGD
from advvid.attacks.problem import Goal, Problem
from advvid.attacks.result import AttackResult
from advvid.attacks.search import GradientRule, Keep
from advvid.core.batch import derive_seed
from advvid.core.kinds import Count


@dataclass(frozen=True, kw_only=True)
class EOTPGD(PGD):
    """PGD with expectation over transformation (Athalye et al. 2018), against models that draw random numbers.

    Each draw of each clip starts from a seed of its own, so that the search repeats itself. A draw that fools by luck says little
    about the next one: clips do not leave early and the last iterate is returned. Distance: l-inf or l2.

    Args:
        samples: draws averaged into each gradient; 1 is plain PGD.
            Other arguments: see ``PGD``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``gradient_calls`` counts every draw.
    """

    samples: Count = 10
    early_exit: bool = False
    keep: Keep = "last"

    @property
    def varies(self) -> bool:
        """Whether the start or the draws of the model are new."""
        return self.random_start or self.samples > 1

    def _one_start(self, problem: Problem) -> AttackResult:
        result = super()._one_start(problem)
        return dataclasses.replace(result, gradient_calls=self.samples * result.gradient_calls)

    def _gradient_rule(self, problem: Problem) -> GradientRule:
        seeds, step = draw_seeds(problem.generators).tolist(), count()

        def averaged(x_adv: Tensor, out: Tensor, goal: Goal, active: Tensor) -> Tensor:
            now = next(step)
            own = [derive_seed(seeds[i], now) for i in active.tolist()]
            return expected_loss(problem.model, x_adv, goal.loss, own, self.samples)[2]

        return averaged

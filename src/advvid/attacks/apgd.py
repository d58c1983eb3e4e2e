"""Auto-PGD: projected gradient ascent that chooses its own step sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from advvid.attacks.apgd_search import Objective, apgd_search
from advvid.attacks.base import Attack, AttackResult
from advvid.attacks.cascade import Round, cascade
from advvid.attacks.logits import likely_classes, require_logits
from advvid.attacks.problem import Problem
from advvid.core.kinds import Count, NotNegativeNumber, Whole
from advvid.threats.balls import L2Ball, LinfBall, ball


@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """Auto-PGD (Croce & Hein 2020, "Reliable evaluation of adversarial robustness", algorithm 1).

    Steps start at twice the budget and are halved, clip by clip, where progress stalls; a halved clip goes on from
    its best iterate. Distance: l-inf or l2 over the whole clip.

    Args:
        eps: budget, a number or a fraction such as ``"8/255"``.
        norm: ``linf`` or ``l2``.
        steps: iterations of each search.
        restarts: searches from different random starts.
        loss: ``ce`` (the task's loss) or ``dlr`` (difference of logits ratio).
        targets: 0 for one search away from the label; n for n searches, each towards one of the n most likely
            wrong classes (with ``loss="dlr"`` this is APGD-T). ``run(targets=...)`` asks for a given class instead.
        eot: draws of a random model averaged into each gradient; 1 for deterministic models.
        early_exit: fooled clips leave the batch (same verdicts, less work).

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``gradient_calls``
        counts every draw.

    Example:
        >>> APGD(eps="8/255", loss="dlr", targets=9).threat.budget
        'l-inf 8/255'
    """

    any_shape: ClassVar[bool] = True

    eps: NotNegativeNumber = "8/255"
    norm: Literal["linf", "l2"] = "linf"
    steps: Count = 100
    restarts: Count = 1
    loss: Literal["ce", "dlr"] = "ce"
    targets: Whole = 0
    eot: Count = 1
    early_exit: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.threat  # refuses an impossible budget now rather than at the first batch

    @property
    def threat(self) -> LinfBall | L2Ball:
        """The norm ball of radius eps, cut by the range of valid pixels."""
        return ball(self.norm, float(self.eps), self.space)

    def _search(self, problem: Problem) -> AttackResult:
        aims: list[Tensor | None] = [None]
        if self.targets and problem.targets is None:
            with torch.no_grad():
                logits = require_logits(problem.model(problem.clips), problem.labels, "APGD with targets")
            aims = list(likely_classes(logits, problem.labels, self.targets).unbind(dim=1))

        def towards(aim: Tensor | None) -> Round:
            def search(rest: Problem, left: Tensor) -> AttackResult:
                return self._one_start(rest, Objective(self.loss, rest.goal, None if aim is None else aim[left]))

            return search

        rounds = [towards(aim) for _ in range(self.restarts) for aim in aims]
        return cascade(problem, rounds, self.early_exit)[0]

    def _one_start(self, problem: Problem, objective: Objective) -> AttackResult:
        start = self.threat.random_start(problem.clips, problem.generators)
        return apgd_search(
            problem,
            start,
            objective,
            self.threat,
            step_size=2 * float(self.eps),
            steps=self.steps,
            samples=self.eot,
            early_exit=self.early_exit,
        )

"""The settings and the restart loop of every attack that is a gradient search in a threat set."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from advvid.attacks.base import Attack, AttackResult
from advvid.attacks.problem import Problem, Targeted
from advvid.attacks.search import Ascent, GradientRule, Keep, gradient_search, loss_gradient, worst_of
from advvid.attacks.stepped import SteppedAttack
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count
from advvid.threats.base import Aux


@dataclass(frozen=True, kw_only=True)
class IteratedAttack(Attack):
    """A projected gradient search in whatever measure; subclasses say in ``threat`` where and in ``step`` how far.

    Args:
        steps: iterations.
        random_start: begin at a random member of the set rather than at the clean clip.
        restarts: searches that differ by start or by place; each clip keeps its worst result.
        targeted: None, ``least_likely``, ``random`` or a class number; ``run(targets=...)`` gives targets instead.
        early_exit: fooled clips leave the batch (same verdicts, less work).
        keep: ``fooled`` or ``last``; see ``advvid.attacks.search.gradient_search``.
    """

    steps: Count = 20
    random_start: bool = True
    restarts: Count = 1
    targeted: Targeted = None
    early_exit: bool = True
    keep: Keep = "fooled"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.restarts > 1 and not self.varies:
            raise AdvvidError("restarts would repeat the same search: set restarts=1 or random_start=true")

    @property
    def varies(self) -> bool:
        """Whether two searches of a clip differ, by their start or by whatever else the attack draws."""
        return self.random_start

    def at_start(self) -> Self:
        """Return this attack without its steps: it only begins, where its restarts and random start say."""
        begun = copy.copy(self)
        begun._set("steps", 0)  # no setting for a column, whose table would show a search that never was
        return begun

    @property
    @abstractmethod
    def step(self) -> float:
        """The step size as a number, in the threat's own measure."""

    def _search(self, problem: Problem) -> AttackResult:
        problem = problem.aimed(self.targeted)
        best = self._one_start(problem)
        for _ in range(self.restarts - 1):
            if not self.early_exit:
                best = worst_of(problem, best, self._one_start(problem))
                continue
            left = (~problem.fooled(best.x_adv)).nonzero().squeeze(1)
            if len(left) == 0:
                break
            rest = problem.select(left)
            best = best.put(left, worst_of(rest, best.select(left), self._one_start(rest)))
        return best

    def _one_start(self, problem: Problem) -> AttackResult:
        aux = self._choose(problem)
        start = self._start(problem, aux)
        ascent = Ascent(
            step_size=self.step,
            steps=self.steps,
            early_exit=self.early_exit,
            keep=self.keep,
            gradient=self._gradient_rule(problem),
        )
        return gradient_search(problem, start, self.threat, aux, ascent)

    def _gradient_rule(self, problem: Problem) -> GradientRule:
        """Return what the steps of one search follow."""
        return loss_gradient

    def _choose(self, problem: Problem) -> Aux:
        """Make each clip's choices among the threat's sets; at random unless a subclass looks for better ones."""
        return self.threat.sample(problem.clips, problem.generators)

    def _start(self, problem: Problem, aux: Aux) -> Tensor:
        """Return where each clip's search begins, inside the threat."""
        return self.threat.random_start(problem.clips, problem.generators, aux) if self.random_start else problem.clips


@dataclass(frozen=True, kw_only=True)
class GradientAttack(SteppedAttack, IteratedAttack):
    """An iterated search with an additive budget eps and a step size; subclasses say in ``threat`` where.

    Arguments: see ``SteppedAttack`` and ``IteratedAttack``.
    """

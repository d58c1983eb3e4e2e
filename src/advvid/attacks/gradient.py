"""The settings and the restart loop of every attack that is a gradient search in a threat set."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack, AttackResult, resolve_step
from advvid.attacks.search import (
    Goal,
    GradientRule,
    Keep,
    Targeted,
    gradient_search,
    loss_gradient,
    make_goal,
    worst_of,
)
from advvid.core.kinds import Count, NotNegativeNumber, Step
from advvid.tasks.base import Task
from advvid.threats.base import Aux


@dataclass(frozen=True, kw_only=True)
class IteratedAttack(Attack):
    """A projected gradient search in whatever measure; subclasses say in ``threat`` where and in ``step`` how far.

    Args:
        steps: iterations.
        random_start: begin at a random member of the set rather than at the clean clip.
        restarts: searches from different starts; each clip keeps its worst result.
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
        _ = self.threat  # refuses an impossible budget now rather than at the first batch

    def at_start(self) -> Self:
        """Return this attack without its steps: it only begins, where its restarts and random start say."""
        begun = copy.copy(self)
        begun._set("steps", 0)  # no setting for a column, whose table would show a search that never was
        return begun

    @property
    @abstractmethod
    def step(self) -> float:
        """The step size as a number, in the threat's own measure."""

    def _search(
        self,
        model: nn.Module,
        clips: Tensor,
        labels: Tensor,
        generators: Sequence[torch.Generator],
        targets: Tensor | None,
        task: Task,
    ) -> AttackResult:
        goal = make_goal(self.targeted, model, clips, labels, generators, targets, task)
        best = self._one_start(model, clips, goal, generators)
        for _ in range(self.restarts - 1):
            with torch.no_grad():
                left = (~goal.reached(model(best.x_adv))).nonzero().squeeze(1) if self.early_exit else None
            if left is not None and len(left) == 0:
                break
            best = self._restart(model, clips, goal, generators, best, left)
        return best

    def _one_start(
        self, model: nn.Module, clips: Tensor, goal: Goal, generators: Sequence[torch.Generator]
    ) -> AttackResult:
        threat = self.threat
        aux = self._choose(model, clips, goal, generators)
        return gradient_search(
            model, clips, self._start(clips, generators, aux), goal, threat, aux,
            step_size=self.step, steps=self.steps, early_exit=self.early_exit, keep=self.keep,
            gradient=self._gradient_rule(model, clips, generators),
        )  # fmt: skip

    def _gradient_rule(self, model: nn.Module, clips: Tensor, generators: Sequence[torch.Generator]) -> GradientRule:
        """Return what the steps of one search follow."""
        return loss_gradient

    def _choose(self, model: nn.Module, clips: Tensor, goal: Goal, generators: Sequence[torch.Generator]) -> Aux:
        """Make each clip's choices among the threat's sets; at random unless a subclass looks for better ones."""
        return self.threat.sample(clips, generators)

    def _start(self, clips: Tensor, generators: Sequence[torch.Generator], aux: Aux) -> Tensor:
        """Return where each clip's search begins, inside the threat."""
        return self.threat.random_start(clips, generators, aux) if self.random_start else clips

    def _restart(
        self,
        model: nn.Module,
        clips: Tensor,
        goal: Goal,
        generators: Sequence[torch.Generator],
        best: AttackResult,
        left: Tensor | None,
    ) -> AttackResult:
        """Search again, only the clips ``left`` where given, and keep each clip's worst."""
        if left is None:
            return worst_of(model, goal, best, self._one_start(model, clips, goal, generators))
        chosen = goal.select(left)
        own = AttackResult(
            best.x_adv[left], best.steps[left], best.gradient_calls[left], {k: v[left] for k, v in best.aux.items()}
        )
        again = self._one_start(model, clips[left], chosen, [generators[i] for i in left.tolist()])
        worst = worst_of(model, chosen, own, again)
        aux = {k: v.index_copy(0, left, worst.aux[k]) for k, v in best.aux.items()}
        return AttackResult(
            best.x_adv.index_copy(0, left, worst.x_adv),
            best.steps.index_copy(0, left, worst.steps),
            best.gradient_calls.index_copy(0, left, worst.gradient_calls),
            aux,
        )


@dataclass(frozen=True, kw_only=True)
class GradientAttack(IteratedAttack):
    """An iterated search with an additive budget eps and a step size; subclasses say in ``threat`` where.

    Args:
        eps: budget in [0, 1], a number or a fraction such as ``"8/255"``.
        step_size: a number, a fraction, ``optimal``, ``optimal/2`` or ``eps``.
    """

    eps: NotNegativeNumber = "8/255"
    step_size: Step = "optimal"

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.step  # refuses an unknown rule

    @property
    def radius(self) -> float:
        """The budget as a number in [0, 1]."""
        return float(self.eps)

    @property
    def step(self) -> float:
        """The step size as a number, after its rule."""
        return resolve_step(self.step_size, self.radius)

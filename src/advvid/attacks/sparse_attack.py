"""The settings and the course of every attack that changes few frames under a penalty."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import MinLen
from torch import Tensor

from advvid.attacks.base import Attack, AttackResult
from advvid.attacks.keyframe import FIXED, Course, KeyFrame, bayesian, brute_force, fixed_frames
from advvid.attacks.penalised import Change, Found, PenalisedDescent, adversarial_term, penalised_search
from advvid.attacks.problem import Problem, Targeted
from advvid.attacks.selection import Selection
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, NotNegative, NotNegativeNumber, Numeral, Whole
from advvid.threats.sparse import SparseFrames, measure_of


@dataclass(frozen=True, kw_only=True)
class SparseAttack(Attack):
    """Adam on ``weight * penalty - adversarial term`` over a change of few frames; subclasses say which change.

    Args:
        frames: N, how many frames may change.
        key_frame: which: ``first``, ``random``, ``given``, ``bayesian`` (expected improvement) or ``brute_force``.
        given: frame numbers from 0 for ``given``; ``frames`` is then their number.
        weight: of the penalty (lambda).
        growth: part by which a clip's weight rises after each iterate that fools, and falls after each other one, so that
            the search stays at the boundary, as DDN's radius does. Wants ``early_exit=false`` and frames known beforehand.
        steps: Adam updates.
        step_size: Adam's learning rate, in [0, 1] of the values.
        adversarial: ``other`` or ``task``; see ``advvid.attacks.penalised.adversarial_term``.
        measure: ``l21`` or ``ssim``: the distance that is reported and that ``budget`` limits.
        budget: largest distance (for ssim: of one minus it); None for the iteration limit alone. DeepSAVA's tables 5
            and B.14 to B.16 give 500 steps then.
        at_budget: ``stop``: a clip's search ends at the budget, as in those tables; the step that would go beyond is cut
            to what fits. ``project``: the change is scaled back to the budget and the search goes on, which is stronger.
        trials: sets of frames that ``bayesian`` tries (K of DeepSAVA's algorithm 1).
        trial_steps: updates in each trial of ``bayesian``, before the best set gets all ``steps``; None for ``steps``,
            which leaves nothing to repeat. The published code takes 1.
        queries_per_batch: starting sets of a clip that ``bayesian`` tries at once. More take so much more memory, and keep a GPU
            busy with few clips; what is found is the same.
        targeted: None, ``least_likely``, ``random`` or a class number; ``run(targets=...)`` gives targets instead.
        early_exit: fooled clips leave the batch (same verdicts, less work).
    """

    frames: Count = 1
    key_frame: KeyFrame = "first"
    given: Annotated[Sequence[Whole], MinLen(1)] | None = None
    weight: Annotated[NotNegative, Numeral()] = 1.0
    growth: NotNegative = 0.0
    steps: Count = 100
    step_size: NotNegativeNumber = 0.01
    adversarial: Literal["other", "task"] = "other"
    measure: Literal["l21", "ssim"] = "l21"
    budget: NotNegative | None = None
    at_budget: Literal["stop", "project"] = "stop"
    trials: Count = 12
    trial_steps: Count | None = 10
    queries_per_batch: Count = 1
    targeted: Targeted = None
    early_exit: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.growth and (self.early_exit or self.key_frame in ("bayesian", "brute_force")):
            raise AdvvidError(
                f"growth={self.growth:g} moves the weight of a search that goes on after it fooled, on given frames: set "
                "early_exit=false and key_frame to first, random or given, or growth=0"
            )
        if (self.given is None) == (self.key_frame == "given"):
            raise AdvvidError(
                "key_frame=given and given=[...] belong together: set both, as in given=[0,4], or neither"
            )
        if self.given is not None:
            places = tuple(self.given)
            if len(set(places)) < len(places):
                raise AdvvidError(f"given={list(places)} is not possible: list distinct frame numbers from 0")
            self._set("given", places)
            self._set("frames", len(places))

    @property
    def only(self) -> tuple[int, ...] | None:
        """The frames that may change where that is known beforehand."""
        if self.given is not None:
            return tuple(self.given)
        return tuple(range(self.frames)) if self.key_frame == "first" else None

    @property
    @abstractmethod
    def threat(self) -> SparseFrames:
        """All changes of at most N frames, within the budget if there is one."""

    @abstractmethod
    def change(self, height: int, width: int) -> Change:
        """Return how the frames may change, for frames of this size."""

    def _search(self, problem: Problem) -> AttackResult:
        problem = problem.aimed(self.targeted)
        clips, generators = problem.clips, problem.generators
        everyone = torch.arange(len(clips), device=clips.device)

        def full(rows: Tensor, index: Tensor) -> Found:
            return self._attack(problem.select(rows), index, self.steps)

        if self.key_frame in FIXED:
            chosen = fixed_frames(self.key_frame, self.frames, self.given or (), clips, generators)
            return full(everyone, chosen.index).result
        if self.key_frame == "brute_force":
            return brute_force(full, self.frames, clips).result
        course = Course(
            count=self.frames, trials=self.trials, early_exit=self.early_exit, together=self.queries_per_batch
        )
        if self.trial_steps is None or self.trial_steps >= self.steps:
            return bayesian(full, course, clips, generators).result
        probe = self.trial_steps

        def short(rows: Tensor, index: Tensor) -> Found:
            return self._attack(problem.select(rows), index, probe)

        best = bayesian(short, course, clips, generators)
        left = (~best.fooled).nonzero().squeeze(1) if self.early_exit else everyone
        if len(left) == 0:
            return best.result
        count = min(self.frames, clips.shape[2])
        places = best.result.aux["frames"][left].nonzero()[:, 1].view(len(left), count)
        return best.merge(left, full(left, places)).result

    def _attack(self, problem: Problem, index: Tensor, steps: int) -> Found:
        descent = PenalisedDescent(
            raised=lambda out, goal: adversarial_term(out, goal, self.adversarial, type(self).__name__),
            weight=float(self.weight),
            steps=steps,
            early_exit=self.early_exit,
            distance=measure_of(self.measure, self.space, self.threat.scales),
            limit=self.budget,
            at_limit=self.at_budget,
            growth=self.growth,
        )
        change = self.change(*problem.clips.shape[-2:])
        return penalised_search(problem, Selection(index, problem.clips.shape[2]), change, descent)

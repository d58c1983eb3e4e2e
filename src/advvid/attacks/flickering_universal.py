"""Universal flickering: one pattern of offsets for a set of videos, at any offset in time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from advvid.attacks.base import AttackResult, frozen
from advvid.attacks.cyclic import begun_anywhere, cycle
from advvid.attacks.fitted import FittedPattern
from advvid.attacks.flicker import Flicker, describe, margin_hinge
from advvid.attacks.problem import Problem
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.kinds import NotNegativeNumber
from advvid.tasks.base import Task
from advvid.tasks.classification import Classification
from advvid.threats.offsets import Offsets


@dataclass(frozen=True, kw_only=True)
class FlickeringUniversal(Flicker):
    """Universal flickering (Pony et al. 2021): a cyclic pattern that fools many videos wherever they begin.

    ``fit`` lowers the mean of the objective over clips and over cyclic shifts in time, one batch and one random shift
    per clip at a time, and returns a ``FittedFlickering`` that adds the pattern to any clip. Run without ``fit``, the
    attack learns a pattern on each clip by itself, still under random shifts, so that no clip depends on another.

    Args:
        steps: updates of the pattern, each on one batch; the batches are walked again as often as needed.

    Other arguments: see ``advvid.attacks.flicker.Flicker``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``aux``: ``pattern [B, 3, T]`` as added to each clip,
        ``thickness [B]`` and ``roughness [B]``.

    Example:
        >>> fitted = FlickeringUniversal().fit(model, loader, torch.Generator())   # doctest: +SKIP
        >>> x_adv = fitted(model, clips, labels)                                    # doctest: +SKIP
    """

    # What is raised is the mean over clips and shifts; a single clip at a single shift may come off well.
    maximises: ClassVar[bool] = False

    optimizer: Literal["sign", "adam"] = "adam"
    step_size: NotNegativeNumber = 0.01

    def fit(
        self, model: nn.Module, loader: Iterable[Batch], generator: torch.Generator, task: Task | None = None
    ) -> FittedFlickering:
        """Learn one pattern on the clips of ``loader``, as long as its first batch's clips.

        Args:
            model: maps clips to logits, on the device that the clips are to be moved to.
            loader: batches of labelled clips; walked again where ``steps`` exceeds their number.
            generator: of the shifts, and of random targets.
            task: what a wrong answer is; single-label classification when None.

        Raises:
            AdvvidError: if the loader is empty.
        """
        parameter = next(model.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        pattern, descend = None, None
        with torch.enable_grad(), frozen(model):
            for batch in cycle(loader, self.steps):
                batch = batch.to(device)
                draws = [generator] * len(batch)
                problem = Problem(model, batch.inputs, batch.target, draws, None, task or Classification())
                problem = problem.aimed(self.targeted)
                if pattern is None or descend is None:
                    pattern = batch.inputs.new_zeros(1, *batch.inputs.shape[1:3])
                    descend = self.optimiser(pattern)
                pattern = descend(pattern, self._gradient(problem, pattern))
        if pattern is None:
            raise AdvvidError("universal flickering has no clip to learn from: give a loader with at least one batch")
        fitted = self.unfitted()
        fitted.load_state_dict({"pattern": pattern[0]})
        return fitted

    def unfitted(self) -> FittedFlickering:
        """Return the fitted form without a pattern."""
        return FittedFlickering(source=self, space=self.space)

    def _search(self, problem: Problem) -> AttackResult:
        problem = problem.aimed(self.targeted)
        pattern = problem.clips.new_zeros(problem.clips.shape[:3])
        descend = self.optimiser(pattern)
        for _ in range(self.steps):
            pattern = descend(pattern, self._gradient(problem, pattern))
        return _applied(self.threat, problem, pattern, self.steps)

    def _gradient(self, problem: Problem, pattern: Tensor) -> Tensor:
        """Return the gradient of the objective at one random shift per clip, for one pattern or one per clip."""
        pattern = pattern.detach().requires_grad_()
        moved, _ = begun_anywhere(pattern, problem.clips.shape[2], problem.generators)
        hinge = margin_hinge(problem.model(self.threat.apply(problem.clips, moved)), problem.goal, self.margin)
        # One pattern for all is judged by its mean over clips; patterns of their own do not mix.
        total = (hinge.mean() if len(pattern) == 1 else hinge.sum()) + self.penalty(pattern).sum()
        (grad,) = torch.autograd.grad(total, pattern)
        return grad


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedFlickering(FittedPattern):
    """A universal pattern, added to each clip at a random shift in time; made by ``FlickeringUniversal.fit``.

    Longer clips see the pattern again from its start, shorter ones a part of it. The state is ``pattern [3, T]``.
    """

    maximises: ClassVar[bool] = False
    called: ClassVar[str] = "universal flickering"
    dimensions: ClassVar[tuple[str, ...]] = ("channels", "frames")

    @property
    def threat(self) -> Offsets:
        """All offsets per frame and channel."""
        return Offsets(self.space)

    def _search(self, problem: Problem) -> AttackResult:
        pattern = self.state_dict()["pattern"].to(problem.clips)[None]
        return _applied(self.threat, problem, pattern, 0)


def _applied(threat: Offsets, problem: Problem, pattern: Tensor, steps: int) -> AttackResult:
    moved, _ = begun_anywhere(pattern, problem.clips.shape[2], problem.generators)
    taken = torch.full((len(problem),), steps, device=moved.device)
    return AttackResult(threat.apply(problem.clips, moved), taken, taken.clone(), describe(moved))

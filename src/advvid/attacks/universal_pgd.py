"""UAP-PGD: one perturbation for all clips, found by signed steps on batches of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack, AttackResult, frozen
from advvid.attacks.cyclic import begun_anywhere, begun_at, cycle
from advvid.attacks.fitted import FittedPattern
from advvid.attacks.penalised import adversarial_term
from advvid.attacks.problem import Problem
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, NotNegativeNumber
from advvid.tasks.base import Task
from advvid.tasks.classification import Classification
from advvid.threats.balls import LinfBall


@dataclass(frozen=True, kw_only=True)
class UniversalPGD(Attack):
    """UAP-PGD (Shafahi et al. 2020, "Universal adversarial training", algorithm 2; Deng & Karam 2020), for clips.

    ``fit`` takes one signed step for each batch along the mean gradient of its clips, and cuts the perturbation to eps.
    What is raised is bounded, as the paper's clipped loss is: log(1 - p of the label) is at most 0, so that a clip which
    is fooled pulls no more. Run without ``fit``, the attack learns on each clip by itself. Distance: l-inf.

    Args:
        eps: budget in [0, 1].
        steps: signed steps, each on one batch; batches are walked again as often as needed.
        step_size: of a step, in [0, 1].
        any_start: the perturbation begins at a random frame of its cycle, in learning and in use: where a video
            begins is not known in real time. False: at each clip's first frame.
        adversarial: ``other`` or ``task``; see ``advvid.attacks.penalised.adversarial_term``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``aux["begin"]``: int64 ``[B]``, the offset in frames.

    Example:
        >>> fitted = UniversalPGD().fit(model, loader, torch.Generator())   # doctest: +SKIP
        >>> x_adv = fitted(model, clips, labels)                            # doctest: +SKIP
    """

    # What is raised is the mean over clips and offsets; a single clip at a single offset may come off well.
    maximises: ClassVar[bool] = False

    eps: NotNegativeNumber = "10/255"
    steps: Count = 100
    step_size: NotNegativeNumber = "1/255"
    any_start: bool = True
    adversarial: Literal["other", "task"] = "other"

    @property
    def threat(self) -> LinfBall:
        """The l-inf ball of radius eps."""
        return LinfBall(float(self.eps), self.space)

    def fit(
        self, model: nn.Module, loader: Iterable[Batch], generator: torch.Generator, task: Task | None = None
    ) -> FittedUniversalPGD:
        """Learn one perturbation on the clips of ``loader``, as long as its first batch's clips.

        Args:
            model: maps clips to the task's output, on the device that the clips are to be moved to.
            loader: batches of labelled clips; walked again where ``steps`` exceeds their number.
            generator: of the offsets.
            task: what a wrong answer is; single-label classification when None.

        Raises:
            AdvvidError: if the loader is empty.
        """
        parameter = next(model.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        pattern: Tensor | None = None
        with torch.enable_grad(), frozen(model):
            for batch in cycle(loader, self.steps):
                batch = batch.to(device)
                draws = [generator] * len(batch)
                problem = Problem(model, batch.inputs, batch.target, draws, None, task or Classification())
                pattern = torch.zeros_like(batch.inputs[:1]) if pattern is None else pattern
                pattern = self._stepped(problem, pattern)
        if pattern is None:
            raise AdvvidError("universal PGD has no clip to learn from: give a loader with at least one batch")
        fitted = self.unfitted()
        fitted.load_state_dict({"pattern": pattern[0]})
        return fitted

    def unfitted(self) -> FittedUniversalPGD:
        """Return the fitted form without a perturbation."""
        return FittedUniversalPGD(source=self, space=self.space)

    def _search(self, problem: Problem) -> AttackResult:
        pattern = torch.zeros_like(problem.clips)
        for _ in range(self.steps):
            pattern = self._stepped(problem, pattern)
        x_adv, begin = self.added(problem.clips, pattern, problem.generators)
        spent = torch.full((len(problem),), self.steps, device=x_adv.device)
        return AttackResult(x_adv, spent, spent.clone(), {"begin": begin})

    def _stepped(self, problem: Problem, pattern: Tensor) -> Tensor:
        """Return a pattern for all clips, or one for each, after one signed step."""
        pattern = pattern.detach().requires_grad_()
        x_adv, _ = self.added(problem.clips, pattern, problem.generators)
        gain = adversarial_term(problem.model(x_adv), problem.goal, self.adversarial, "universal PGD")
        # The sign of a sum is that of the mean.
        (grad,) = torch.autograd.grad(gain.sum(), pattern)
        eps = float(self.eps)
        return (pattern.detach() + float(self.step_size) * grad.sign()).clamp(-eps, eps)

    def added(self, clips: Tensor, pattern: Tensor, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
        """Return clips plus a pattern, begun where the setting says, and the frame that it begins at ``[B]``."""
        if self.any_start:
            delta, begin = begun_anywhere(pattern, clips.shape[2], generators)
        else:
            begin = torch.zeros(len(clips), dtype=torch.int64, device=clips.device)
            delta = begun_at(pattern, clips.shape[2], begin)
        return self.space.clamp(clips + delta, clips), begin


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedUniversalPGD(FittedPattern):
    """A universal perturbation, added to each clip; made by ``UniversalPGD.fit``.

    Longer clips see it again from its start, shorter ones a part of it. The state is ``pattern [3, T, H, W]``.
    """

    maximises: ClassVar[bool] = False
    called: ClassVar[str] = "universal PGD"
    dimensions: ClassVar[tuple[str, ...]] = ("channels", "frames", "rows", "columns")

    source: UniversalPGD

    @property
    def threat(self) -> LinfBall:
        """The l-inf ball of radius eps."""
        return self.source.threat

    def _search(self, problem: Problem) -> AttackResult:
        clips, pattern = problem.clips, self.state_dict()["pattern"].to(problem.clips)[None]
        if (pattern.shape[1], *pattern.shape[3:]) != (clips.shape[1], *clips.shape[3:]):
            raise AdvvidError(
                f"this universal PGD was fitted to frames of {pattern.shape[3]} x {pattern.shape[4]}, the clips have "
                f"{clips.shape[3]} x {clips.shape[4]}: fit it on clips of that size"
            )
        x_adv, begin = self.source.added(clips, pattern, problem.generators)
        return AttackResult.unsearched(x_adv, {"begin": begin})

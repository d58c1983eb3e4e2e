"""The adaptive attack on MultiBN: one perturbation against the classifier and the module that chooses its branches."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advvid.attacks.base import Attack, AttackResult
from advvid.attacks.gradient import IteratedAttack
from advvid.attacks.pgd import PGD
from advvid.attacks.problem import Problem
from advvid.core.errors import AdvvidError
from advvid.models.multi_branch import MultiBranch
from advvid.tasks.base import Task
from advvid.tasks.classification import Classification
from advvid.threats.base import Threat


class Both(nn.Module):
    """A model with a selector that puts out logits and, after them, the selector's scores: ``[B, C + K]``."""

    def __init__(self, model: MultiBranch) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits and scores."""
        scores = self.model.scores(clips)
        return torch.cat([self.model.weighted(clips, self.model.weigh(scores), None), scores], dim=1)


@dataclass(frozen=True)
class Joint:
    """A task on the output of ``Both``: the classifier's, with ``weight`` times the selector's cross-entropy.

    Verdicts, predictions and measures are the classifier's alone.

    Args:
        task: of the classifier.
        classes: number of its logits, C.
        family: number of the branch that is right for the clips, y_det.
        weight: the paper's lambda.
    """

    task: Task = field(default_factory=Classification)
    classes: int = 0
    family: int = 0
    weight: float = 0.0

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        """Return ``L(x, y) + lambda L_det(x, y_det)`` of each clip."""
        own = self.task.loss(out[:, : self.classes], target)
        if self.weight == 0:
            return own
        family = torch.full((len(out),), self.family, device=out.device)
        return own + self.weight * F.cross_entropy(out[:, self.classes :].float(), family, reduction="none")

    def correct(self, out: Tensor, target: Tensor) -> Tensor | None:
        """Tell which clips the classifier gets right."""
        return self.task.correct(out[:, : self.classes], target)

    def predict(self, out: Tensor) -> Tensor:
        """Return the classifier's predictions."""
        return self.task.predict(out[:, : self.classes])

    def label(self, target: Tensor) -> list[Any]:
        """Return the true answers."""
        return self.task.label(target)

    def margin(self, out: Tensor, target: Tensor) -> Tensor | None:
        """Return how far the classifier's verdicts are from tipping over."""
        return self.task.margin(out[:, : self.classes], target)

    def metrics(self, outs: Tensor, targets: Tensor) -> dict[str, Any]:
        """Return the classifier's further measures."""
        return self.task.metrics(outs[:, : self.classes], targets)


@dataclass(frozen=True, kw_only=True)
class JointAttack(Attack):
    """The adaptive attack (Lo & Patel): ``argmax L(x + delta, y) + lambda L_det(x + delta, y_det)`` by any gradient search.

    It succeeds where the classifier is wrong; that the selector errs is a means.

    Args:
        attack: the search and its threat.
        weight: lambda; with 0 this is the attack itself.
        family: the attack's name in training, whose branch is right for its clips.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``aux`` and budget are the attack's.

    Raises:
        AdvvidError: for a model without a selector.

    Example:
        >>> JointAttack(attack=PGD(eps="4/255"), weight=1, family="pgd").threat.budget
        'l-inf 4/255'
    """

    attack: Attack = field(default_factory=PGD)
    weight: float = 1.0
    family: str = "pgd"

    def __post_init__(self) -> None:
        super().__post_init__()
        plain = isinstance(self.attack, IteratedAttack) and self.attack.targeted is None
        if not plain:
            raise AdvvidError(
                f"the adaptive attack on a selector adds to the loss of an untargeted gradient search, which "
                f"{type(self.attack).__name__} is not: choose one such as pgd, roa, frame_border or salt_and_pepper"
            )

    @property
    def threat(self) -> Threat:
        """The attack's."""
        return self.attack.threat

    def _search(self, problem: Problem) -> AttackResult:
        model, task = problem.model, problem.task
        both = Both(with_selector(model)) if not isinstance(model, Both) else model
        if not isinstance(task, Joint):
            with torch.no_grad():
                task = Joint(task, both(problem.clips[:1]).shape[1] - len(both.model.names))
        joint = Joint(task.task, task.classes, both.model.branch_of(self.family), self.weight)
        return self.attack._search(dataclasses.replace(problem, model=both, targets=None, task=joint))


def with_selector(model: nn.Module) -> MultiBranch:
    """Return a model as one with a selector.

    Raises:
        AdvvidError: if it has none.
    """
    if not isinstance(model, MultiBranch) or model.selector is None:
        raise AdvvidError("an attack on the selector needs a model that has one: train one with defense=multibn")
    return model

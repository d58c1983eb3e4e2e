"""What an attack is given: clips, the model that they are to fool, and what counts as fooled."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from advvid.core.errors import AdvvidError
from advvid.core.kinds import Whole
from advvid.tasks.base import Task
from advvid.tasks.classification import Classification

# See ``Problem.aimed``.
Targeted = Literal["least_likely", "random"] | Whole | None


@dataclass(frozen=True)
class Goal:
    """What a search raises, and when it has succeeded: away from the label, or towards a target.

    Shape:
        out: the model's output ``[B, ...]``; labels, targets: ``[B]``.
    """

    task: Task
    labels: Tensor
    targets: Tensor | None = None

    def loss(self, out: Tensor) -> Tensor:
        """Return what is to be raised, ``[B]``: the label's loss, or minus the target's."""
        if self.targets is None:
            return self.task.loss(out, self.labels)
        return -self.task.loss(out, self.targets)

    def reached(self, out: Tensor) -> Tensor:
        """Tell which clips are fooled, ``bool [B]``; never where the task has no right answer."""
        if self.targets is None:
            right = self.task.correct(out, self.labels)
            return torch.zeros(len(out), dtype=torch.bool, device=out.device) if right is None else ~right
        hit = self.task.correct(out, self.targets)
        return torch.zeros(len(out), dtype=torch.bool, device=out.device) if hit is None else hit

    def ahead(self, out: Tensor) -> Tensor:
        """Return what a search by scores lowers, ``[B]``: the label's margin where the task has one, else minus the loss."""
        margin = self.task.margin(out, self.labels) if self.targets is None else None
        return -self.loss(out) if margin is None else margin

    def select(self, index: Tensor) -> Goal:
        """Return the goal of some of the clips."""
        return Goal(self.task, self.labels[index], None if self.targets is None else self.targets[index])


@dataclass(frozen=True)
class Problem:
    """A batch to attack, which ``Attack.run`` has checked before it hands it to the search.

    Args:
        model: maps clips to the task's output; its parameters need no gradient.
        clips: clean clips ``[B, 3, T, H, W]``.
        labels: the true answers, ``[B]``.
        generators: one per clip, the only source of random numbers.
        targets: answers to be reached instead, ``[B]``, or None.
        task: what a wrong answer is.

    Example:
        >>> problem.select(~problem.fooled(x_adv))              # doctest: +SKIP
    """

    model: nn.Module
    clips: Tensor
    labels: Tensor
    generators: Sequence[torch.Generator]
    targets: Tensor | None = None
    task: Task = field(default_factory=Classification)

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def goal(self) -> Goal:
        """What a search raises on these clips."""
        return Goal(self.task, self.labels, self.targets)

    @torch.no_grad()
    def fooled(self, x_adv: Tensor) -> Tensor:
        """Ask the model which of these clips fool it, ``bool [B]``."""
        return self.goal.reached(self.model(x_adv))

    def select(self, index: Tensor) -> Problem:
        """Return the problem of some of the clips, by their places (int64) or a mask (``bool [B]``)."""
        chosen = index.nonzero().squeeze(1) if index.dtype == torch.bool else index
        places = chosen.to(self.clips.device, non_blocking=True)  # of a host index nobody waits
        return dataclasses.replace(
            self,
            clips=self.clips[places],
            labels=self.labels[places],
            generators=[self.generators[i] for i in chosen.tolist()],
            targets=None if self.targets is None else self.targets[places],
        )

    def aimed(self, rule: Targeted) -> Problem:
        """Return the problem with the answers of a targeted attack; given targets go before the rule.

        Args:
            rule: None (untargeted), ``least_likely`` (the clean clip's smallest logit), ``random`` (any other class), or
                the number of a class, at which clips of that class itself are led to the next one.

        Raises:
            AdvvidError: for targets where clips have several labels, or a class that the model does not know.
        """
        if self.labels.dtype == torch.bool and (rule is not None or self.targets is not None):
            raise AdvvidError(
                "a targeted attack needs data with one label per clip: leave targeted=null for several labels"
            )
        return self if self.targets is not None else dataclasses.replace(self, targets=self._chosen(rule))

    def _chosen(self, rule: Targeted) -> Tensor | None:
        if rule is None:
            return None
        with torch.no_grad():
            logits = self.model(self.clips)
        labels, classes = self.labels, logits.shape[1]
        if isinstance(rule, int):
            if rule >= classes:
                raise AdvvidError(f"targeted={rule} is no class: the model knows 0 to {classes - 1}")
            return torch.where(labels == rule, (rule + 1) % classes, torch.full_like(labels, rule))
        if rule == "least_likely":
            return logits.scatter(1, labels[:, None], torch.inf).argmin(dim=1)
        drawn = torch.stack([torch.randint(classes - 1, (), generator=g) for g in self.generators])
        return (labels + 1 + drawn.to(labels.device)) % classes

"""Adversarial training in two halves: make the clips to train on, then take a loss on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack, frozen
from advvid.attacks.gradient import IteratedAttack
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.defenses.at import AT
from advvid.defenses.base import Defense, Logs, Step, single
from advvid.models.modes import mode
from advvid.tasks.classification import Classification

# A forward pass alone, in forward-backward passes: the gradient of the input costs about as much as the output.
FORWARD = 0.5


@dataclass(frozen=True)
class Crafted:
    """Clips to train on, and what they cost.

    Shape:
        clips: ``[N, 3, T, H, W]``; target: ``[N]`` (or the task's own form); N is the batch size, or a multiple of it
        where every attack's clips are trained on. passes: scalar, forward-backward passes per clip of the batch.
    """

    clips: Tensor
    target: Tensor
    passes: Tensor


@dataclass(kw_only=True)
class CraftedDefense(AT):
    """AT with its two halves apart, so that a subclass, or AWP from outside, may change either.

    As it stands this is AT: ``prepare`` runs the one attack, ``fit`` returns the loss on the result.
    """

    def objective(
        self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step
    ) -> tuple[Tensor, Logs]:
        """Return the loss on crafted clips; the cost is that of both halves."""
        crafted = self.prepare(model, batch, attacks, step)
        loss, logs = self.fit(model, batch, crafted, step)
        logs["passes"] = logs["passes"] + crafted.passes
        return loss, logs

    def prepare(self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step) -> Crafted:
        """Make the clips to train on; the model is left as it was."""
        return self.attacked(model, batch, self.inner(single(attacks, "at")), step)

    def fit(self, model: nn.Module, batch: Batch, crafted: Crafted, step: Step) -> tuple[Tensor, Logs]:
        """Return the loss to minimise, and what to log; ``passes`` without those of ``prepare``."""
        return self.fit_to(model, crafted.clips, crafted.target, 1)

    def attacked(self, model: nn.Module, batch: Batch, attack: Attack, step: Step) -> Crafted:
        """Craft with this attack as it stands; budget 0 means clean clips, for nothing."""
        if getattr(attack, "eps", 1) == 0:
            return clean(batch)
        result = self.craft(model, batch, attack, step)
        return Crafted(result.x_adv, batch.target, result.gradient_calls.float().mean())

    def losses(self, model: nn.Module, clips: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each clip, ``[B]``, as the inner attack sees it."""
        # Frozen weights as well: autocast would keep weights cast without a gradient and use them again in training.
        with mode(model, self.inner_mode == "train"), frozen(model), torch.no_grad():
            return self.task.loss(model(clips), target)


def clean(batch: Batch) -> Crafted:
    """Return the batch itself, which costs nothing to make."""
    return Crafted(batch.inputs, batch.target, torch.zeros(()))


def check_classes(defense: Defense, name: str) -> None:
    """Refuse a task without class distributions, for defenses that compare them.

    Raises:
        AdvvidError: naming the task.
    """
    if not isinstance(defense.task, Classification):
        raise AdvvidError(
            f"defense={name} compares distributions over classes, which the task {type(defense.task).__name__} does not "
            "have: choose a defense such as at"
        )


def check_iterated(attack: Attack, name: str, plain: bool = False) -> IteratedAttack:
    """Return an attack that is an untargeted iterated gradient search, which takes its loss from the task alone.

    Args:
        attack: to be looked at.
        name: of the defense.
        plain: whether each step has to follow the loss's own gradient, without momentum or averages.

    Raises:
        AdvvidError: for any other attack.
    """
    kind = type(attack).__name__
    if not isinstance(attack, IteratedAttack) or type(attack)._search is not IteratedAttack._search:
        raise AdvvidError(
            f"defense={name} takes the steps of a gradient search, which {kind} is not: choose an attack such as pgd, roa, "
            "frame_border or salt_and_pepper"
        )
    if plain and type(attack)._gradient_rule is not IteratedAttack._gradient_rule:
        raise AdvvidError(
            f"defense={name} follows the gradient of the loss itself, which {kind} does not: choose an attack such as pgd"
        )
    if attack.targeted is not None:
        raise AdvvidError(f"defense={name} has no use for a targeted attack: set targeted=null for {kind} in training")
    return attack

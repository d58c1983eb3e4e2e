"""Clips made to be trained on, and what a defense may want of the attacks that make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advvid.attacks.base import Attack
from advvid.attacks.gradient import IteratedAttack
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.defenses.base import Defense
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


def clean(batch: Batch) -> Crafted:
    """Return the batch itself, which costs nothing to make."""
    return Crafted(batch.inputs, batch.target, torch.zeros(()))


def all_passes(parts: Sequence[Crafted]) -> Tensor:
    """Return what several cost together; a host's number may stand beside a GPU's, so that neither is waited for."""
    total = torch.zeros(())
    for part in parts:
        total = total + part.passes
    return total


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

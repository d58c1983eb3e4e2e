"""Several searches one after the other, each for the clips that are still right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from advvid.attacks.base import AttackResult
from advvid.attacks.search import Goal, worst_of

# A search over some of the clips, given by their indices in the batch.
Round = Callable[[Tensor], AttackResult]


def cascade(
    model: nn.Module, clips: Tensor, goal: Goal, rounds: Sequence[Round], early_exit: bool
) -> tuple[AttackResult, Tensor]:
    """Run the rounds in order and keep each clip's strongest result, the clean clip being the first candidate.

    Args:
        model: maps clips to the task's output.
        clips: ``[B, 3, T, H, W]``.
        goal: what counts as fooled, and the loss that ranks results which do not fool.
        rounds: the searches.
        early_exit: clips that are fooled take no part in later rounds; verdicts are the same without.

    Returns:
        The result, without aux, and per clip the number of the first round that fooled it (-1: none, or wrong before).
    """
    zero = torch.zeros(len(clips), dtype=torch.int64, device=clips.device)
    best = AttackResult(clips, zero, zero.clone())
    by = torch.full_like(zero, -1)
    with torch.no_grad():
        fooled = goal.reached(model(clips))
    for number, search in enumerate(rounds):
        left = (~fooled).nonzero().squeeze(1) if early_exit else torch.arange(len(clips), device=clips.device)
        if len(left) == 0:
            break
        chosen = goal.select(left)
        own = AttackResult(best.x_adv[left], best.steps[left], best.gradient_calls[left])
        worst = worst_of(model, chosen, own, search(left))
        best = AttackResult(
            best.x_adv.index_copy(0, left, worst.x_adv),
            best.steps.index_copy(0, left, worst.steps),
            best.gradient_calls.index_copy(0, left, worst.gradient_calls),
        )
        with torch.no_grad():
            hit = chosen.reached(model(worst.x_adv))
        new = left[hit & ~fooled[left]]
        by[new] = number
        fooled[new] = True
    return best, by

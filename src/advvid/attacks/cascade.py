"""Several searches one after the other, each for the clips that are still right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from advvid.attacks.problem import Problem
from advvid.attacks.result import AttackResult
from advvid.attacks.search import worst_of

# A search over some of the clips, given with their places in the batch.
Round = Callable[[Problem, Tensor], AttackResult]


def cascade(problem: Problem, rounds: Sequence[Round], early_exit: bool) -> tuple[AttackResult, Tensor]:
    """Run the rounds in order and keep each clip's strongest result, the clean clip being the first candidate.

    Args:
        problem: the clips, what counts as fooled, and the loss that ranks results which do not fool.
        rounds: the searches.
        early_exit: clips that are fooled take no part in later rounds; verdicts are the same without.

    Returns:
        The result, without aux, and per clip the number of the first round that fooled it (-1: none, or wrong before).
    """
    best = AttackResult.unsearched(problem.clips)
    by = torch.full_like(best.steps, -1)
    fooled = problem.fooled(problem.clips)
    for number, search in enumerate(rounds):
        left = (~fooled if early_exit else torch.ones_like(fooled)).nonzero().squeeze(1)
        if len(left) == 0:
            break
        rest = problem.select(left)
        worst = worst_of(rest, best.select(left), search(rest, left))
        best = best.put(left, worst)
        hit = rest.fooled(worst.x_adv)
        new = left[hit & ~fooled[left]]
        by[new] = number
        fooled[new] = True
    return best, by

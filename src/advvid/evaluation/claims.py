"""What an attack hands back, held against what it was given and what it is allowed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from advvid.attacks.result import AttackResult
from advvid.core.later import require
from advvid.threats.base import Threat


def require_honest(
    result: AttackResult,
    column: str,
    threat: Threat,
    given: tuple[Tensor, Tensor],
    clips: Tensor,
    labels: Tensor,
    ids: Sequence[str],
) -> Tensor:
    """Refuse a result that is not what it claims to be, and return each clip's measured distance ``[B]``.

    On a GPU all is checked when it is read, see ``advvid.core.later``.

    Args:
        result: of the right form.
        column: of the table, for the message.
        threat: what the attack is allowed, as it was before the attack ran.
        given: the copies of clips and labels that the attack worked on.
        clips: the originals, ``[B, ...]``.
        labels: the originals.
        ids: of the clips.

    Raises:
        AdvvidError: if the attack wrote into its copies, counts below zero, or a clip is outside the threat set.
    """
    far = threat.distance(result.x_adv, clips)
    allowed = threat.contains(result.x_adv, clips, result.aux)
    written = (_bits(given[0]) != _bits(clips)).any() | (given[1] != labels).any()
    below = (result.steps < 0).any() | (result.gradient_calls < 0).any()

    def furthest() -> list[Tensor]:
        index = (~allowed).int().argmax()
        clip = result.x_adv.index_select(0, index[None])
        return [index, far.index_select(0, index[None])[0], clip.min(), clip.max(), (~allowed).sum()]

    def outside(figures: Sequence[float]) -> str:
        index, distance, low, high, count = figures
        return (
            f"the attack of column {column} left its threat model on clip {ids[int(index)]}: allowed is "
            f"{threat.budget}, measured is a distance of {distance:.6g} with values from {low:.6g} to "
            f"{high:.6g} ({count:.0f} of {len(ids)} clips of the batch); results "
            "discarded: this is a bug in the attack, please report it"
        )

    overwritten = (
        f"the attack of column {column} wrote into the clips or labels that it was given (batch of clip {ids[0]}): "
        "held against these its change would not show; let it work on a clone"
    )
    require(~written, list, lambda figures: overwritten)
    require(allowed.all(), furthest, outside)
    negative = (
        f"the attack of column {column} counts fewer than 0 steps or gradient calls: mend what it reports as its cost"
    )
    require(~below, list, lambda figures: negative)
    return far


def _bits(values: Tensor) -> Tensor:
    """Return values as whole numbers of 64 bits where they divide into such, which compare several times as fast."""
    whole = values.is_contiguous() and values.dim() > 0 and values.shape[-1] * values.element_size() % 8 == 0
    return values.view(torch.int64) if whole else values

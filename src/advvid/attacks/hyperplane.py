"""The shortest way to a hyperplane that stays inside the range of valid pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from advvid.core.batch import Space
from advvid.threats.base import AnyNorm, Norm, per_clip


def to_hyperplane(x: Tensor, normal: Tensor, gap: Tensor, norm: Norm, space: Space) -> Tensor:
    """Return the smallest change of ``x``, in a norm, after which a linear function is zero and the range is kept.

    The function has the value ``gap`` at ``x`` and the gradient ``normal``. The change moves every value in the
    direction that brings the function to zero, at the same speed (l-inf) or at the speed of its own weight (l2), until
    it meets the range's wall; how far is read off the sorted walls (Croce & Hein 2020, FAB, sec. 2.2). Where the range
    leaves no solution every value that matters is at its wall.

    Args:
        x: ``[B, ...]``, inside the space.
        normal: like ``x``.
        gap: ``[B]``.
        norm: ``linf`` or ``l2``.
        space: the range of valid values.

    Returns:
        The change, like ``x``.

    Example:
        >>> x, w = torch.full((1, 2), 0.5), torch.tensor([[1.0, 3.0]])
        >>> to_hyperplane(x, w, torch.tensor([0.4]), "linf", Space())
        tensor([[-0.1000, -0.1000]])
    """
    # In double precision: a clip has 10^5 to 10^7 values, whose sums decide where the way ends.
    w = normal.flatten(1).double() * -gap.double().sign()[:, None]
    wall = torch.where(w > 0, space.high - x.flatten(1).double(), x.flatten(1).double() - space.low)
    speed = w.abs() if norm == "l2" else torch.ones_like(w)
    # At time t value i has moved by speed * t, or stands at its wall since time `end`.
    end = torch.where(w != 0, wall / speed.clamp_min(1e-300), 0.0)
    gain = w.abs() * speed
    order = end.argsort(dim=1)
    ends, gains = end.gather(1, order), gain.gather(1, order)
    stopped = (gains * ends).cumsum(dim=1)
    moving = gains.flip(1).cumsum(dim=1).flip(1) - gains
    # What the function has changed by at each value's end, rising along the row.
    reached = stopped + moving * ends
    need = gap.abs().double()[:, None]
    place = torch.searchsorted(reached, need).clamp_max(reached.shape[1] - 1)
    before = (place - 1).clamp_min(0)
    done = torch.where(place > 0, stopped.gather(1, before), 0.0)
    # Values that end at `place` or later are still moving just before it.
    rate = moving.gather(1, place) + gains.gather(1, place)
    time = torch.minimum((need - done) / rate.clamp_min(1e-300), ends.gather(1, place))
    change = w.sign() * speed * torch.minimum(time, end)
    return change.view_as(x).to(x.dtype)


def lengths(change: Tensor, norm: AnyNorm) -> Tensor:
    """Return the norm of each clip's change, ``[B]``; in l0 the number of values that are not zero."""
    return change.flatten(1).norm(dim=1, p={"linf": torch.inf, "l2": 2, "l1": 1, "l0": 0}[norm])


def scaled(change: Tensor, factor: Tensor) -> Tensor:
    """Multiply each clip's change by its own factor ``[B]``."""
    return change * per_clip(factor, change)

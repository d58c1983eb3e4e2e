"""What an attack hands back, and the form that it owes its caller."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from advvid.core.errors import AdvvidError
from advvid.threats.base import Aux, per_clip


@dataclass(frozen=True)
class AttackResult:
    """What an attack found.

    Shape:
        x_adv: like the clips, detached. steps: int ``[B]``, the iterations behind each returned clip.
        gradient_calls: int ``[B]``, backward passes spent on each clip. aux: per-clip choices (patch masks, ...).
    """

    x_adv: Tensor
    steps: Tensor
    gradient_calls: Tensor
    aux: Aux = field(default_factory=dict)

    @staticmethod
    def unsearched(x_adv: Tensor, aux: Aux | None = None) -> AttackResult:
        """Return the result of no iteration and no backward pass."""
        none = torch.zeros(len(x_adv), dtype=torch.int64, device=x_adv.device)
        return AttackResult(x_adv, none, none.clone(), aux or {})

    def select(self, index: Tensor) -> AttackResult:
        """Return the result of some of the clips."""
        aux = {name: value[index] for name, value in self.aux.items()}
        return AttackResult(self.x_adv[index], self.steps[index], self.gradient_calls[index], aux)

    def put(self, index: Tensor, part: AttackResult) -> AttackResult:
        """Return this with the rows ``index`` (int64, distinct) replaced by those of ``part``."""
        return AttackResult(
            self.x_adv.index_copy(0, index, part.x_adv),
            self.steps.index_copy(0, index, part.steps),
            self.gradient_calls.index_copy(0, index, part.gradient_calls),
            {name: value.index_copy(0, index, part.aux[name]) for name, value in self.aux.items()},
        )

    def merge(self, other: AttackResult, better: Tensor) -> AttackResult:
        """Return the other's result of the same clips where it is ``better`` (``bool [B]``); gradient calls add up."""
        return AttackResult(
            torch.where(per_clip(better, self.x_adv), other.x_adv, self.x_adv),
            torch.where(better, other.steps, self.steps),
            self.gradient_calls + other.gradient_calls,
            {name: torch.where(per_clip(better, own), other.aux[name], own) for name, own in self.aux.items()},
        )


def require_form(result: object, clips: Tensor, name: str) -> None:
    """Refuse a result of another form than an attack owes its caller; nothing is synchronised.

    Args:
        result: of an attack.
        clips: that it was given, ``[B, ...]``.
        name: of the attack, for the message.

    Raises:
        AdvvidError: naming what is of another kind, shape, type or device.
    """
    wrong = _wrong(result, clips)
    if wrong is not None:
        raise AdvvidError(f"the attack {name} returned {wrong}: mend the attack, whose result cannot be scored")


def _wrong(result: object, clips: Tensor) -> str | None:
    if not isinstance(result, AttackResult):
        return f"a {type(result).__name__} instead of an AttackResult"
    x_adv, size = result.x_adv, len(clips)
    if not isinstance(x_adv, Tensor):
        return f"a {type(x_adv).__name__} instead of clips"
    if x_adv.dim() == 0 or len(x_adv) != size:
        return f"{len(x_adv) if x_adv.dim() else 'no'} clips for the {size} that it was given"
    if x_adv.shape != clips.shape:
        return f"clips of shape {_shape(x_adv)} for clips of shape {_shape(clips)}"
    if x_adv.dtype != clips.dtype:
        return f"clips of type {_type(x_adv)} for clips of type {_type(clips)}"
    if x_adv.device != clips.device:
        return f"clips on {x_adv.device} for clips on {clips.device}"
    if x_adv.requires_grad:
        return "clips that are still part of a graph (requires_grad)"
    for name in ("steps", "gradient_calls"):
        count = getattr(result, name)
        if not isinstance(count, Tensor) or count.shape != (size,) or count.is_floating_point():
            said = f"{_type(count)} of shape {_shape(count)}" if isinstance(count, Tensor) else type(count).__name__
            return f"{name} as {said} instead of one whole number for each of {size} clips"
    for name, value in result.aux.items():
        if not isinstance(value, Tensor) or value.dim() == 0 or len(value) != size:
            return f"aux[{name!r}] without one row for each of {size} clips"
    return None


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "()"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")

"""What a purifier is: a step in front of any model that states what an adaptive attacker has to know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from advvid.core.allowed import checked
from advvid.core.errors import AdvvidError

Generators = Sequence[torch.Generator]


class Purifier(nn.Module):
    """Clips to clips of the same shape in [0, 1].

    A subclass writes ``purify`` and states two facts, from which evaluation picks the adaptive attack by itself:

    - ``differentiable``: gradients flow through. Where they do not, the backward pass is that of ``surrogate`` (BPDA,
      Athalye et al. 2018, sec. 4.1), while the forward pass stays exact to the bit.
    - ``random``: each call draws anew, from the given generators; an attack averages over draws (EOT).

    Args:
        surrogate: what stands in for the purifier in the backward pass: another purifier, any module, or a ``StandIn``,
            which knows what it stands for; None for the identity. Not used by differentiable ones.

    Shape:
        clips ``[B, 3, T, H, W]``; generators: one per clip, None for torch's global one.
    """

    differentiable: bool = True
    random: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            checked(cls)

    def __init__(self, surrogate: nn.Module | None = None) -> None:
        super().__init__()
        if isinstance(surrogate, StandIn) and not isinstance(self, surrogate.stands_for):
            raise AdvvidError(
                f"{type(surrogate).__name__} cannot stand in for {type(self).__name__}: leave its surrogate=null, or choose "
                "another"
            )
        self.surrogate = surrogate

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return the purified clips; values outside [0, 1] are cut off by the caller."""
        raise TypeError(f"{type(self).__name__} has to define purify")

    def forward(self, clips: Tensor, generators: Generators | None = None) -> Tensor:
        """Return the purified clips."""
        if self.differentiable:
            return in_range(self.purify(clips, generators))
        with torch.no_grad():
            exact = self.purify(clips.detach(), generators).clamp(0, 1)
        if not (torch.is_grad_enabled() and clips.requires_grad):
            return exact
        result: Tensor = _StraightThrough.apply(self._stand_in(clips), exact)
        return result

    def _stand_in(self, clips: Tensor) -> Tensor:
        """Return what the backward pass goes through; only its gradient counts."""
        if self.surrogate is None:
            return clips
        found: Tensor = self.surrogate(clips, self) if isinstance(self.surrogate, StandIn) else self.surrogate(clips)
        return found

    @property
    def settings(self) -> str:
        """The class and its settings in words, by which results are kept apart."""
        return f"{type(self).__name__}({self.extra_repr()})" + ("" if self.surrogate is None else repr(self.surrogate))

    def extra_repr(self) -> str:
        """Return the settings."""
        return _own_settings(self)


class StandIn(nn.Module):
    """What stands in for a purifier in the backward pass and looks at that purifier's own settings.

    ``forward(clips, purifier)`` returns clips of the same shape, whose values do not matter: only the gradient is used.
    """

    stands_for: tuple[type[Purifier], ...] = (Purifier,)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            checked(cls)

    def extra_repr(self) -> str:
        """Return the settings, by which results are kept apart."""
        return _own_settings(self)


def _own_settings(module: nn.Module) -> str:
    own = {k: v for k, v in vars(module).items() if not k.startswith("_") and k != "training"}
    return ", ".join(f"{k}={v!r}" for k, v in own.items())


class _StraightThrough(torch.autograd.Function):
    """Forward the exact values, backward as if they were the stand-in's."""

    @staticmethod
    def forward(ctx: Any, stand_in: Tensor, exact: Tensor) -> Tensor:
        return exact.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def in_range(clips: Tensor) -> Tensor:
    """Return values cut off at 0 and 1, with the gradient of a value that is 0 or 1 already.

    PyTorch's ``clamp`` has none there, and black and white pixels would be out of an attack's reach.
    """
    inside = (clips >= 0) & (clips <= 1)
    return torch.where(inside, clips, clips.detach().clamp(0, 1))


def on_frames(clips: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
    """Do some work on all frames as pictures ``[B * T, 3, H, W]``."""
    return work(clips.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(clips), -1)).transpose(1, 2)


def per_clip(clips: Tensor, generators: Generators | None, draw: Callable[[torch.Generator | None], Tensor]) -> Tensor:
    """Draw one tensor for each clip, from its own generator; returns them stacked on the clips' device."""
    each: Sequence[torch.Generator | None] = [None] * len(clips) if generators is None else generators
    return torch.stack([draw(generator) for generator in each]).to(clips.device)

"""What the settings of other libraries' classes may be, where these do not declare it themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Lt
from torch.optim import Optimizer

from advvid.core.allowed import hints_of
from advvid.core.kinds import NotNegative, Positive

Decay = Annotated[float, Ge(0), Lt(1)]
# The ranges are those that the methods are defined for; torch.optim leaves out the upper ends of most.
OPTIMIZER: dict[str, Any] = {
    "lr": Positive, "weight_decay": NotNegative, "eps": NotNegative | tuple[NotNegative | None, NotNegative],
    "momentum": Decay, "dampening": Decay, "betas": tuple[Decay, Decay], "alpha": Decay, "rho": Annotated[float, Gt(0), Lt(1)],
    "lr_decay": NotNegative,
    "initial_accumulator_value": NotNegative, "momentum_decay": NotNegative, "nesterov": bool, "amsgrad": bool,
    "centered": bool, "maximize": bool, "foreach": bool | None, "fused": bool | None, "capturable": bool,
    "differentiable": bool, "decoupled_weight_decay": bool,
}  # fmt: skip


def declared(target: Callable[..., Any]) -> dict[str, Any]:
    """Return what the arguments of a class or function may be, by argument; see ``advvid.core.allowed``.

    Example:
        >>> declared(torch.optim.SGD)["lr"] is Positive
        True
    """
    if isinstance(target, type) and issubclass(target, Optimizer):
        return OPTIMIZER
    return hints_of(target)


def try_out(maker: partial[Any]) -> partial[Any]:
    """Return what makes an optimiser after making one for a single weight, so that it refuses its settings now.

    Raises:
        ValueError: and others of torch, for settings that do not go together.
    """
    if isinstance(maker.func, type) and issubclass(maker.func, Optimizer):
        maker([torch.nn.Parameter(torch.zeros(1, 1))])
    return maker

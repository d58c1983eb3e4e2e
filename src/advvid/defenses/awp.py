"""AWP: train at the worst weights nearby."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from advvid.attacks.base import Attack
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.kinds import NotNegativeNumber, Whole
from advvid.defenses.at import AT
from advvid.defenses.base import Logs, Measure, Step
from advvid.defenses.crafted import Crafted

# What an outer and an inner defense must agree on.
SHARED = ("inner_steps", "inner_step_size", "inner_mode", "task")


@dataclass(kw_only=True)
class AWP(AT):
    """AWP (Wu et al. 2020, algorithm 1 and eq. 8 to 10): the gradient is taken at w + v, and moves w.

    v is one steepest step of the loss on the adversarial clips, in each weight of two or more dimensions (biases and
    BatchNorm's scales stay): ``v_l = gamma * ||w_l|| * g_l / ||g_l||``. The weights themselves are never written: the loss
    is computed with w + v in their place, and its gradient is that of w. BatchNorm's statistics move once, at w + v, as
    in the published code. That code also applies weight decay and the optimiser's step at w + v before it takes v away,
    which differs from this in the decay of v alone. Cost per clip: twice the passes of the loss, so ``inner_steps`` + 2
    over AT; with gamma 0 it is the defense below, at its cost.

    Args:
        gamma: size of v over that of the weights.
        warmup: epochs at the beginning without v (the published code of TRADES-AWP: 10 of 200).
        over: the defense whose clips and loss these are; None for AT.

    Example:
        >>> AWP(over=TRADES(beta=6)).objective(model, batch, {"pgd": PGD()}, step)     # doctest: +SKIP
    """

    unsharded: ClassVar[str] = "takes the gradient at other weights than the model's own"

    gamma: NotNegativeNumber = 0.01
    warmup: Whole = 0
    over: AT | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.over is None:
            return
        # One whose objective is not the two halves (free_at) has no loss that could be taken twice on the same clips.
        kind = type(self.over)
        plain = kind.objective is AT.objective and kind.chosen is AT.chosen
        if not plain or isinstance(self.over, AWP):
            raise AdvvidError(
                f"defense.over={type(self.over).__name__} cannot be trained at other weights: choose trades, mart, avg, max, "
                "msd, fgsm_rs, n_fgsm, or null for at"
            )
        for name in SHARED:
            if getattr(self.over, name) != getattr(self, name):
                raise AdvvidError(
                    f"defense.{name}={getattr(self, name)!r} and defense.over.{name}={getattr(self.over, name)!r} differ: "
                    "set both to the same"
                )
        self.attacks = self.attacks or self.over.attacks

    @property
    def paced(self) -> bool:
        """As the defense below."""
        return self.over is not None and self.over.paced

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return what the defense below makes of the model."""
        return model if self.over is None else self.over.wrap(model)

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Want what the defense below wants, and an epoch after the warm-up."""
        if self.over is None:
            super().check(attacks, epochs)
        else:
            self.over.task = self.task
            self.over.check(attacks, epochs)
        if self.warmup >= epochs:
            raise AdvvidError(
                f"defense.warmup={self.warmup} leaves no epoch with perturbed weights: choose less than schedule.epochs={epochs}"
            )

    def prepare(self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step) -> Crafted:
        """Make clips as the defense below does, at the weights as they are."""
        if self.over is None:
            return super().prepare(model, batch, attacks, step)
        return self.over.prepare(model, batch, attacks, step)

    def fit(self, model: nn.Module, batch: Batch, crafted: Crafted, step: Step) -> tuple[Tensor, Logs]:
        """Return the loss below at w + v; its gradient reaches w."""
        if self.gamma == 0 or step.epoch < self.warmup:
            return self._below(model, batch, crafted, step)
        weights = {n: p for n, p in model.named_parameters() if p.requires_grad and p.dim() > 1}
        # The look-ahead moves statistics of BatchNorm that are thrown away.
        buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
        ahead, _ = self._below(Replaced(model, buffers), batch, crafted, step)
        gradients = torch.autograd.grad(ahead, list(weights.values()), allow_unused=True)
        moved = {
            name: weight + self.shift(weight, gradient)
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
            if gradient is not None
        }
        loss, logs = self._below(Replaced(model, moved), batch, crafted, step)
        logs["passes"] = 2 * logs["passes"]
        return loss, logs

    def shift(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """Return v of one weight, outside of the graph; a zero gradient gives none."""
        weight = weight.detach()
        return float(self.gamma) * weight.norm() / gradient.norm().clamp_min(1e-30) * gradient

    def _below(self, model: nn.Module, batch: Batch, crafted: Crafted, step: Step) -> tuple[Tensor, Logs]:
        if self.over is None:
            return super().fit(model, batch, crafted, step)
        return self.over.fit(model, batch, crafted, step)

    def describe(self, attacks: Mapping[str, Attack], step: Step) -> dict[str, Any]:
        """Return what the defense below does."""
        return super().describe(attacks, step) if self.over is None else self.over.describe(attacks, step)

    def end_epoch(self, attacks: Mapping[str, Attack], step: Step, measure: Measure) -> dict[str, Any]:
        """Let the defense below adapt."""
        return {} if self.over is None else self.over.end_epoch(attacks, step, measure)

    def state_dict(self) -> dict[str, Any]:
        """Keep the state of the defense below."""
        return {} if self.over is None else self.over.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        if self.over is not None:
            self.over.load_state_dict(state)


class Replaced(nn.Module):
    """A model with other tensors in the place of some of its own, for as long as a call.

    Args:
        model: the model.
        tensors: by name, parameters or buffers; what they were computed from receives their gradient.
    """

    def __init__(self, model: nn.Module, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.model, self.tensors = model, tensors

    def forward(self, clips: Tensor) -> Tensor:
        """Return the model's output."""
        return functional_call(self.model, self.tensors, (clips,))

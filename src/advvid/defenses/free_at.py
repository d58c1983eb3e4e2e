"""Free adversarial training: each batch several times, with one backward pass for weights and perturbation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.attacks.gradient import GradientAttack
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, PositiveNumber
from advvid.defenses.base import Logs, Step
from advvid.defenses.one_step import OneStep
from advvid.threats.balls import LinfBall


@dataclass(kw_only=True)
class FreeAT(OneStep):
    """Free AT (Shafahi et al. 2019, algorithm 1): m replays of a minibatch, a perturbation that lives on.

    Exactly as in the paper: m optimiser steps in a row on the same minibatch; the backward pass that gives the weights
    their gradient gives the perturbation its own, which then moves by ``step_factor * eps`` along the sign and is cut to
    eps; it goes on to the next replay and, by place in the batch, to the next minibatch. The first is zero.

    Different, as the trainer hands over a fresh batch each step: an epoch keeps its number of steps, so that it visits
    one batch in m, at random, and passes over the others (which are loaded for nothing). The paper instead divides the
    epochs by m and visits every batch: over a run, both make the same number of steps and replay the same number of
    minibatches. Cost: 1 pass per clip, as plain training; with eps 0 and one replay it *is* plain training. A resumed run
    repeats an uninterrupted one bit for bit in one process; of several, all go on with the first one's minibatch and
    perturbation until the next minibatch is due.

    Args:
        replays: the paper's m (8 for CIFAR-10, 4 for ImageNet).
        step_factor: step size of the perturbation over eps. Other arguments: see ``OneStep``.

    Example:
        >>> FreeAT(replays=4).objective(model, batch, {"pgd": PGD()}, step)     # doctest: +SKIP
    """

    name: ClassVar[str] = "free_at"

    replays: Count = 4
    step_factor: PositiveNumber = 1.0
    delta: Tensor | None = field(default=None, init=False, repr=False)
    held: Batch | None = field(default=None, init=False, repr=False)

    def one_step(self, attack: Attack) -> Attack:
        """Return FGSM with the step of training, from the clean clip."""
        assert isinstance(attack, GradientAttack)  # as additive() made sure
        size = float(self.step_factor) * attack.radius
        return dataclasses.replace(attack, steps=1, random_start=False, step_size=size)

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Want one attack in an l-inf ball: a patch would be somewhere else in the next minibatch."""
        attack = self.additive(attacks)
        if not isinstance(attack.threat, LinfBall):
            raise AdvvidError(
                f"defense=free_at keeps one perturbation for all clips, which {attack.threat.budget} does not allow: choose "
                "an l-inf attack on whole clips such as pgd"
            )

    def objective(
        self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step
    ) -> tuple[Tensor, Logs]:
        """Return the loss on the minibatch in hand; its backward pass moves the perturbation."""
        attack = self.additive(attacks)
        held = self._hold(batch, step)
        if self.delta is None or self.delta.shape != held.inputs.shape:
            self.delta = torch.zeros_like(held.inputs)
        delta = self.delta.to(held.inputs.device).detach().clone().requires_grad_()

        def ascend(grad: Tensor) -> None:
            # Loss scaling of fp16 may overflow in a step that the optimiser then leaves out: NaN moves nothing.
            move = float(self.step_factor) * attack.radius * grad.sign().nan_to_num()
            self.delta = (delta.detach() + move).clamp(-attack.radius, attack.radius)

        delta.register_hook(ascend)
        return self.fit_to(model, attack.space.clamp(held.inputs + delta), held.target, 1)

    def _hold(self, batch: Batch, step: Step) -> Batch:
        """Return the minibatch of this step: a new one after every m steps of the run."""
        if self.held is None or (step.epoch * step.iterations + step.iteration) % self.replays == 0:
            self.held = batch
        self.held = self.held.to(batch.inputs.device)  # a resumed run reads it onto the CPU
        return self.held

    def state_dict(self) -> dict[str, Any]:
        """Keep the perturbation and the minibatch in hand, as a run may be stopped between replays."""
        state = super().state_dict() | {"delta": None if self.delta is None else self.delta.cpu(), "held": None}
        if self.held is not None:
            held = self.held.to("cpu")
            state["held"] = {"inputs": held.inputs, "target": held.target, "ids": list(held.ids), "mask": held.mask}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back."""
        super().load_state_dict(state)
        self.delta = state["delta"]
        self.held = None if state["held"] is None else Batch(**state["held"])

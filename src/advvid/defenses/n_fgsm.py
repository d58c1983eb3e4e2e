"""N-FGSM: one signed step from strong noise, which is not projected back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from advvid.attacks.base import Attack, frozen
from advvid.attacks.gradient import GradientAttack
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.kinds import NotNegativeNumber, PositiveNumber
from advvid.defenses.base import Step
from advvid.defenses.crafted import Crafted, clean
from advvid.defenses.fgsm_rs import FGSMRS
from advvid.models.modes import mode
from advvid.threats.balls import L2Ball


@dataclass(kw_only=True)
class NFGSM(FGSMRS):
    """N-FGSM (de Jorge et al. 2022, algorithm 1): uniform noise of 2 eps, one step of eps from there, no projection.

    The noise is drawn in the attack's set at ``noise_factor * eps``; the result may leave the set of eps, by up to
    the noise, but never the range of pixels. The monitor measures the step of eps inside the set. Cost per clip: 2
    passes; with budget 0 it is plain training.

    Args:
        noise_factor: largest noise over eps, the paper's k.
        step_factor: step size over eps. Other arguments: see ``OneStep``.

    Example:
        >>> NFGSM().objective(model, batch, {"pgd": PGD(eps="8/255")}, step)     # doctest: +SKIP
    """

    name: ClassVar[str] = "n_fgsm"

    step_factor: PositiveNumber = 1.0
    noise_factor: NotNegativeNumber = 2.0

    def noisy(self, attack: GradientAttack) -> GradientAttack:
        """Return the attack that adds the noise and makes no step."""
        eps = float(self.noise_factor) * attack.radius
        return dataclasses.replace(attack, eps=eps, random_start=True).at_start()

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Want one additive gradient attack, in whose set the noise is possible."""
        super().check(attacks, epochs)
        attack = self.additive(attacks)
        if not isinstance(attack.threat, L2Ball) and float(self.noise_factor) * attack.radius > attack.space.width:
            raise AdvvidError(
                f"defense=n_fgsm: noise of {self.noise_factor:g} eps is more than a pixel can change: choose a smaller eps "
                "or defense.noise_factor"
            )

    def prepare(self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step) -> Crafted:
        """Add the noise and take the step."""
        attack = self.additive(attacks)
        if attack.radius == 0:
            return clean(batch)
        noisy = self.noisy(attack)
        start = self.craft(model, batch, noisy, step)
        with mode(model, self.inner_mode == "train"), frozen(model):
            x = start.x_adv.detach().requires_grad_()
            (grad,) = torch.autograd.grad(self.task.loss(model(x), batch.target).sum(), x)
        moved = noisy.threat.ascend(x.detach(), grad, float(self.step_factor) * attack.radius, start.aux)
        return Crafted(attack.space.clamp(moved), batch.target, torch.tensor(1.0))

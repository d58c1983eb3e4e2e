"""MSD: adversarial training with one search that takes the best step of all attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack, frozen
from advvid.core.batch import Batch
from advvid.defenses.at import AT
from advvid.defenses.base import OwnStep, Step
from advvid.defenses.crafted import FORWARD, Crafted, check_iterated
from advvid.models.modes import mode


@dataclass(kw_only=True)
class MSD(AT):
    """MSD (Maini et al. 2020, algorithm 1; Lo & Patel's row): multi steepest descent over the union of the attacks' sets.

    At each step every attack proposes ``project(ascend(x, gradient))`` from the same x in its own set, and each clip
    goes on from the proposal with the highest loss. The paper begins at the clean clip; here each clip begins at the
    worst of the attacks' own starts, so that MSD with one attack is AT. The last iterate is trained on, as in the
    algorithm. Cost per clip, with n attacks: ``inner_steps`` + n (``inner_steps`` + 1) / 2 passes, plus 1; with one
    attack nothing is compared.

    Args:
        inner_step_size: see ``Defense``; ``own`` as the sizes of Lo & Patel's attacks differ.

    Example:
        >>> MSD().objective(model, batch, {"pgd": PGD(), "roa": ROA()}, step)     # doctest: +SKIP
    """

    inner_step_size: OwnStep = "own"

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Want attacks whose steps can be taken one by one."""
        for attack in attacks.values():
            check_iterated(attack, "msd", plain=True)

    def prepare(self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step) -> Crafted:
        """Search the union of the sets."""
        members = [check_iterated(self.inner(attack), "msd", plain=True) for attack in attacks.values()]
        # Without a step an attack returns its start, with its choices of places.
        starts = [self.craft(model, batch, member.at_start(), step) for member in members]
        x_adv = self.worst(model, [start.x_adv for start in starts], batch.target)
        steps = max(member.steps for member in members)
        for _ in range(steps):
            grad = self.gradient(model, x_adv, batch.target)
            proposals = [
                member.threat.project(
                    member.threat.ascend(x_adv, grad, member.step, start.aux), batch.inputs, start.aux
                )
                for member, start in zip(members, starts, strict=True)
            ]
            x_adv = self.worst(model, proposals, batch.target)
        compared = len(members) * (steps + 1) if len(members) > 1 else 0
        begun = torch.stack([start.gradient_calls.float().mean() for start in starts]).sum()
        return Crafted(x_adv, batch.target, begun + steps + FORWARD * compared)

    def gradient(self, model: nn.Module, clips: Tensor, target: Tensor) -> Tensor:
        """Return the gradient of each clip's loss."""
        with mode(model, self.inner_mode == "train"), frozen(model):
            x = clips.detach().requires_grad_()
            return torch.autograd.grad(self.task.loss(model(x), target).sum(), x)[0]

    def worst(self, model: nn.Module, proposals: Sequence[Tensor], target: Tensor) -> Tensor:
        """Return each clip's proposal with the highest loss; of equals, the first."""
        if len(proposals) == 1:
            return proposals[0]
        losses = torch.stack([self.losses(model, clips, target) for clips in proposals])
        rows = torch.arange(losses.shape[1], device=losses.device)
        return torch.stack(list(proposals))[losses.argmax(dim=0), rows]

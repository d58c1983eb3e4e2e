"""ART: the loss on a video's adversarial counterpart as a regulariser of the output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.batch import Batch
from advvid.core.kinds import Count, NotNegativeNumber
from advvid.defenses.at import AT
from advvid.defenses.base import Logs, OwnStep, Step, single
from advvid.defenses.crafted import Crafted, clean


@dataclass(kw_only=True)
class ART(AT):
    """ART, the adversarially robust transformer (Choudhary et al., sec. 2.1, eq. 2-4); it works with any network.

    Minimises ``l(y, f(X)) + alpha * l(y, f(X + R))``. R is one step of length epsilon along the gradient of the loss, in
    l2 for each modality (``attack=fgm``); epsilon is ``defense.attacks.fgm.eps``. Both passes draw the same dropout, so
    that they differ in R alone. Cost per clip: ``inner_steps`` + 2 passes; with weight 0 or budget 0 it is plain
    training, at 1 pass.

    Args:
        adversarial_weight: the paper's alpha.
        inner_steps: 1 as in eq. 4; see ``Defense``.
        inner_step_size: ``own`` is that of the attack, which is epsilon.

    Shape:
        see ``Defense.objective``; ``correct`` is judged on the adversarial clips.

    Raises:
        AdvvidError: for a negative weight.

    Example:
        >>> ART(adversarial_weight=1).objective(model, batch, {"fgm": attack}, step)     # doctest: +SKIP
    """

    adversarial_weight: NotNegativeNumber = 1.0
    inner_steps: Count = 1
    inner_step_size: OwnStep = "own"

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Raise unless exactly one attack is configured."""
        single(attacks, self._name)

    def prepare(self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step) -> Crafted:
        """Make the adversarial counterparts (eq. 4), where anything is asked of them."""
        if not self._regularises:
            return clean(batch)
        return self.attacked(model, batch, self.inner(single(attacks, self._name)), step)

    def fit(self, model: nn.Module, batch: Batch, crafted: Crafted, step: Step) -> tuple[Tensor, Logs]:
        """Return the regularised loss (eq. 2)."""
        if crafted.clips is batch.inputs:  # nothing to compare with: plain training
            return self.fit_to(model, batch.inputs, batch.target, 1)
        with same_draws(batch.inputs.device):
            out = model(batch.inputs)
        return self.regularised(out, model(crafted.clips), batch.target)

    def regularised(self, out: Tensor, out_adv: Tensor, target: Tensor) -> tuple[Tensor, Logs]:
        """Return eq. 2 from the outputs for the clips and for their counterparts."""
        loss, loss_adv = self.task.loss(out, target).mean(), self.task.loss(out_adv, target).mean()
        logs = {"passes": torch.tensor(2.0), "clean_loss": loss.detach(), "adversarial_loss": loss_adv.detach()}
        correct = self.task.correct(out_adv.detach(), target)
        if correct is not None:
            logs["correct"] = correct
        return loss + float(self.adversarial_weight) * loss_adv, logs

    @property
    def _regularises(self) -> bool:
        """Whether anything is asked of the adversarial counterparts."""
        return float(self.adversarial_weight) > 0

    @property
    def _name(self) -> str:
        return "art"


@contextmanager
def same_draws(device: torch.device) -> Iterator[None]:
    """Let what follows the block draw the same random numbers as the block, such as those of dropout."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield

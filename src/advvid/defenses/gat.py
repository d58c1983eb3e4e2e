"""Generative adversarial training: generator and classifier together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.batch import Batch
from advvid.core.kinds import FilePath
from advvid.defenses.ape_gan import APEGAN, GIVEN
from advvid.defenses.base import Logs, Step
from advvid.defenses.generative import purified
from advvid.models.purified import Purified


@dataclass(kw_only=True)
class GAT(APEGAN):
    """GAT (Kinfu & Vidal, eq. 14): the loss of APE-GAN plus the classifier's on F(G(X')), for G and F together.

    G has its own optimiser, F the schedule's. Cost per clip: the inner steps, 1 pass, and another 1.5 where the discriminator moves.

    Args:
        loss_reaches_generator: eq. 14. False is what the published code does: the classifier's loss moves F alone, and G
            learns from reconstruction and discriminator as in 3D APE-GAN.
        classifier: as of ``APEGAN``, as what F starts; ``model`` (the default) starts from the model as it is, new or from
            ``model.checkpoint``. Other arguments: see ``APEGAN``.

    Example:
        >>> GAT().objective(model, batch, {"pgd": PGD()}, step)     # doctest: +SKIP
    """

    loss_reaches_generator: bool = True
    classifier: FilePath | None = GIVEN

    def wrap(self, model: nn.Module) -> Purified:
        """Put a new generator in front of the model; both are trained."""
        return Purified(self.generator(), model)

    def objective(
        self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step
    ) -> tuple[Tensor, Logs]:
        """Return the loss of both networks on attacked clips (eq. 14)."""
        system = purified(model)
        clips, calls = self.attacked(system, batch, attacks, step)
        restored = system.restore(clips)
        own = self.restoration(restored, batch, clips, step)
        seen = restored if self.loss_reaches_generator else restored.detach()
        out = system.classifier(seen)
        logs = {"passes": calls + 1 + self.turn_passes()}
        correct = self.task.correct(out.detach(), batch.target)
        if correct is not None:
            logs["correct"] = correct
        return own + self.task.loss(out, batch.target).mean(), logs

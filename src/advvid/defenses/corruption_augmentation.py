"""Training on corrupted clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.attacks.corruption import Corruption
from advvid.core.batch import Batch, clip_generators
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Share
from advvid.defenses.base import Defense, Logs, Step


@dataclass(kw_only=True)
class CorruptionAugmentation(Defense):
    """Training on clips with random corruptions: the baseline of robustness to corruptions. Cost per clip: 1 pass.

    Each clip is left as it is with probability ``clean``; otherwise it gets one of ``attacks``, drawn evenly, at one of
    five severities, drawn evenly. Kinds that are not among ``attacks`` are new to the model when it is scored, as
    ImageNet-C asks for (Hendrycks & Dietterich 2019, sec. 4.1).

    Args:
        clean: probability that a clip is not corrupted, in [0, 1].

    Example:
        >>> CorruptionAugmentation().objective(model, batch, {"jpeg": CodecCorruption(kind="jpeg")}, step)  # doctest: +SKIP
    """

    clean: Share = 0.5

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Want corruptions only."""
        odd = next((name for name, attack in attacks.items() if not isinstance(attack, Corruption)), None)
        if odd is not None:
            raise AdvvidError(
                f"defense=corruption_augmentation trains on corruptions, and {odd} is a {type(attacks[odd]).__name__}: give "
                "defense.attacks corruptions, as in +attack@defense.attacks.jumbling=time_corruption"
            )

    def objective(
        self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step
    ) -> tuple[Tensor, Logs]:
        """Return the loss on corrupted clips; what a clip gets depends on the step and its id alone."""
        return self.fit_to(model, self.corrupted(batch, attacks, step), batch.target, passes=1)

    def corrupted(self, batch: Batch, attacks: Mapping[str, Attack], step: Step) -> Tensor:
        """Return the clips as they are trained on, of the form of ``batch.inputs``; codecs work on the CPU, so that all do."""
        kinds = [attack for attack in attacks.values() if isinstance(attack, Corruption)]
        made = batch.inputs.cpu().clone()
        for clip, generator in zip(made, clip_generators(step.seed, step.key, batch.ids), strict=True):
            if float(torch.rand((), generator=generator)) >= self.clean:
                kind, severity = (int(torch.randint(n, (), generator=generator)) for n in (len(kinds), 5))
                clip.copy_(kinds[kind].at(severity + 1).corrupt(clip, generator).clamp(0, 1))
        return made.to(batch.inputs.device)

"""MAX: adversarial training on each clip's worst attack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from advvid.attacks.base import Attack
from advvid.core.batch import Batch
from advvid.defenses.avg import AVG
from advvid.defenses.base import Step
from advvid.defenses.crafted import FORWARD, Crafted, all_passes


@dataclass(kw_only=True)
class MAX(AVG):
    """MAX (Tramer & Boneh 2019, sec. 4; Lo & Patel's row): train on the attack that raises a clip's loss most.

    Cost per clip: the inner steps of all attacks, half a pass to compare each, plus 1 pass; with one attack it is AT.

    Args:
        clean: the clean clip is one more candidate, as in Lo & Patel's rows. Other arguments: see ``AVG``.

    Example:
        >>> MAX().objective(model, batch, {"pgd": PGD(), "roa": ROA()}, step)     # doctest: +SKIP
    """

    def prepare(self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step) -> Crafted:
        """Return each clip under its worst attack; of equals, the first."""
        each = self.each(model, batch, attacks, step)
        passes = all_passes(each)
        if len(each) == 1:
            return each[0]
        losses = torch.stack([self.losses(model, crafted.clips, crafted.target) for crafted in each])
        rows = torch.arange(len(batch), device=losses.device)
        worst = torch.stack([crafted.clips for crafted in each])[losses.argmax(dim=0), rows]
        return Crafted(worst, batch.target, passes + FORWARD * len(each))

"""AVG: adversarial training on every attack at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.batch import Batch
from advvid.defenses.at import AT
from advvid.defenses.base import Logs, OwnStep, Step
from advvid.defenses.crafted import Crafted, all_passes, clean


@dataclass(kw_only=True)
class AVG(AT):
    """AVG (Tramer & Boneh 2019, sec. 4; Lo & Patel's row): minimise the mean of the losses under every attack.

    The clips of all attacks go through the network together, so that BatchNorm sees the mixture that testing has. Cost
    per clip: the inner steps of all attacks, plus 1 pass for each; with one attack it is AT.

    Args:
        inner_step_size: see ``Defense``; ``own`` as the sizes of Lo & Patel's attacks differ.
        clean: the clean clip is one more member of the mean, as in Lo & Patel's rows.

    Example:
        >>> AVG().objective(model, batch, {"pgd": PGD(), "roa": ROA()}, step)     # doctest: +SKIP
    """

    inner_step_size: OwnStep = "own"
    clean: bool = False

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Take any set of attacks."""

    def each(self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step) -> list[Crafted]:
        """Craft with every attack, and put the clean clips before them where they take part."""
        crafted = [self.attacked(model, batch, self.inner(attack), step) for attack in attacks.values()]
        return [clean(batch), *crafted] if self.clean else crafted

    def prepare(self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step) -> Crafted:
        """Return the clips of all attacks, one after the other."""
        each = self.each(model, batch, attacks, step)
        passes = all_passes(each)
        return Crafted(torch.cat([c.clips for c in each]), torch.cat([c.target for c in each]), passes)

    def fit(self, model: nn.Module, batch: Batch, crafted: Crafted, step: Step) -> tuple[Tensor, Logs]:
        """Return the mean loss over attacks and clips; ``correct`` has an entry for each of both."""
        return self.fit_to(model, crafted.clips, crafted.target, len(crafted.clips) / len(batch))

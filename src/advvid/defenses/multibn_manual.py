"""MultiBN with branches chosen by hand."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from advvid.defenses.branched import Branched
from advvid.models.multi_branch import MultiBranch


@dataclass(kw_only=True)
class MultiBNManual(Branched):
    """MultiBN-manual (Lo & Patel, "Multi-BN structure"): each family of inputs has its BatchNorm, told by hand.

    The rest of the weights is shared: minimise ``L(x; branch 0) + sum_i max L(x + delta_i; branch i)``. A model cannot
    know what it is shown, so the run's table goes through one branch; ``analysis=branch_matrix`` scores every branch on
    every input, and the row in which each input has its own.

    Cost per clip: the inner steps of all attacks, plus 1 pass for clean clips and for each attack.

    Args:
        branch: that validation and the run's table go through: ``clean`` or a family; None for the first attack's.
            Other arguments: see ``Branched``.

    Example:
        >>> defense = MultiBNManual(attacks={"pgd": PGD(), "roa": ROA()})                    # doctest: +SKIP
        >>> defense.objective(defense.wrap(model), batch, defense.attacks, step)            # doctest: +SKIP
    """

    branch: str | None = None

    def wrap(self, model: nn.Module) -> nn.Module:
        """Give every BatchNorm its branches, each a copy of the layer as it is."""
        return MultiBranch(model, self.names, self.families, self.branch or self.names[:2][-1])

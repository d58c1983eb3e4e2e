"""OUDefend: restoration of features inside the network, trained against an attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import MinLen
from torch import nn

from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, Number, Whole
from advvid.defenses.at import AT
from advvid.models.residual import Place, add_after, residual_blocks
from advvid.models.restoration import OverUnder


@dataclass(kw_only=True)
class OUDefend(AT):
    """AT of a ResNet with OUDefend blocks (Lo, Valanarasu & Patel 2021; Lo & Patel's slides): see ``OverUnder``.

    The published network, a 3D ResNet-18, has 33.6 M weights against 33.0 M without, which fits one block after each
    stage with 7 channels, 3 levels of enlargement and 3, 2, 1, 0 of shrinking (features of 56, 28, 14 and 7 pixels). It
    starts as the network that is wrapped. Cost per clip: AT's passes, each dearer by what the blocks compute.

    Args:
        after: every ``block``, or the last block of each ``stage``.
        channels: inside a block.
        over_levels: of enlargement by two.
        under_levels: of shrinking by two; a list has one number for each stage.
        strength: factor on what the blocks add; with 0 this is AT of the plain network.

    Other arguments: see ``Defense``.

    Example:
        >>> model = OUDefend().wrap(classifier)         # doctest: +SKIP
    """

    after: Literal["block", "stage"] = "block"
    channels: Count = 7
    over_levels: Whole = 2
    under_levels: Whole | Annotated[Sequence[Whole], MinLen(1)] = 2
    strength: Number = 1.0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Put the blocks into the model, in place.

        Raises:
            AdvvidError: if it has no residual blocks, or other stages than ``under_levels`` has numbers.
        """
        under, stages = self._under(), 1 + max(place.stage for place in residual_blocks(model, "oudefend"))
        if len(under) not in (1, stages):
            raise AdvvidError(
                f"defense.under_levels has {len(under)} numbers for the model's {stages} stages: give one for each, or one"
            )

        def block(place: Place) -> nn.Module:
            return OverUnder(place.channels, self.channels, self.over_levels, under[place.stage % len(under)])

        add_after(model, "oudefend", self.after, block, float(self.strength))
        return model

    def _under(self) -> list[int]:
        return [self.under_levels] if isinstance(self.under_levels, int) else list(self.under_levels)

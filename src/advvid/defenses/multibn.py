"""MultiBN with a module that chooses among the branches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advvid.core.kinds import NotNegativeNumber, PositiveNumber
from advvid.defenses.base import Logs
from advvid.defenses.branched import Branched
from advvid.models.multi_branch import MultiBranch, Selector
from advvid.models.r3d_tiny import R3DTiny


@dataclass(kw_only=True)
class MultiBN(Branched):
    """MultiBN (Lo & Patel 2022): a video classifier of the families weighs the branches of every BatchNorm.

    Network and selector are trained together, on attacks that go through both: minimise the sum over clean clips and
    attacks of ``L(x, y) + lambda L_det(x, y_det)``, y_det being the family. The published code holds no training script
    for this form; its network weighs by plain softmax, the slides by Gumbel-softmax. Noise is drawn in training alone.

    Cost per clip: the inner steps of all attacks, plus 1 pass for clean clips and for each attack; a pass includes the
    selector's.

    Args:
        selector: makes the selector's network when called with ``num_classes``; None for a small 3-D network. The paper
            has a 3D ResNet-18.
        selector_weight: the paper's lambda, which it does not state.
        weighting: ``gumbel`` or ``softmax``.
        temperature: of either; the lower, the nearer to one branch.

    Other arguments: see ``Branched``.

    Example:
        >>> defense = MultiBN(attacks={"pgd": PGD(), "roa": ROA()}, weighting="softmax")     # doctest: +SKIP
        >>> model = defense.wrap(model)                                                     # doctest: +SKIP
        >>> model.weigh(model.scores(clips))                                                # doctest: +SKIP
    """

    selector: Callable[..., nn.Module] | None = None
    selector_weight: NotNegativeNumber = 1.0
    weighting: Literal["gumbel", "softmax"] = "gumbel"
    temperature: PositiveNumber = 1.0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Give every BatchNorm its branches, each a copy of the layer as it is, and put the selector beside."""
        kinds = len(self.names)
        net = R3DTiny(kinds, width=0.5) if self.selector is None else self.selector(num_classes=kinds)
        return MultiBranch(
            model,
            self.names,
            self.families,
            selector=Selector(net),
            gumbel=self.weighting == "gumbel",
            temperature=float(self.temperature),
        )

    def answers(self, model: MultiBranch, clips: Mapping[int, Tensor]) -> tuple[list[Tensor], Tensor | None, Logs]:
        """Return logits, the selector's loss and how many clips it puts into their branch.

        The selector sees all families at once: the statistics of its own BatchNorm are those of the mixture.
        """
        sizes = [len(x) for x in clips.values()]
        scores = model.scores(torch.cat(list(clips.values())))
        weights = model.weigh(scores).split(sizes)
        outs = [model.weighted(x, w, branch) for (branch, x), w in zip(clips.items(), weights, strict=True)]
        family = torch.cat([torch.full((n,), k, device=scores.device) for k, n in zip(clips, sizes, strict=True)])
        right = (scores.argmax(dim=1) == family).float().mean()
        return outs, float(self.selector_weight) * F.cross_entropy(scores, family), {"selector_acc": right}

"""A-ART: attention that a video and its adversarial counterpart share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from advvid.core.batch import Batch
from advvid.core.kinds import NotNegativeNumber
from advvid.defenses.art import ART, same_draws
from advvid.defenses.base import Logs, Step
from advvid.defenses.crafted import Crafted
from advvid.models.attention import distance, require_attention, with_attention


@dataclass(kw_only=True)
class AART(ART):
    """A-ART, the attention-adversarially robust transformer (Choudhary et al., sec. 2.2).

    Adds ``beta_Fr * ||A - A_adv||_Fr`` to ART's loss, A and A_adv being the attention maps of a video and of its
    adversarial counterpart, averaged over the heads; gradients flow through both. For transformers on frame features as
    in the paper, and for those on clips (MViT, Swin), which it leaves to future work. With several modalities or layers
    the norm is the mean over their maps, about which the paper says nothing. Costs what ART costs.

    A weight means something only beside a loss of known size, which the paper leaves open. Beside the sum of 317 binary
    cross-entropies its 0.001 does nothing: ART and A-ART then agree to three digits. It is read as beside their mean.

    Args:
        attention_weight: the paper's beta_Fr; with 0 this is ART. For the other arguments see ``ART``.
        attention_beside: what the weight is meant beside where a clip has several labels: the ``mean`` of the losses over the
            K classes, so that it counts K times beside this task's sum, or the ``sum``. Of one label both are the same.

    Raises:
        AdvvidError: for a negative weight; ``wrap`` for a model without attention.

    Example:
        >>> AART(attention_weight=0.001).objective(model, batch, {"fgm": attack}, step)     # doctest: +SKIP
    """

    attention_weight: NotNegativeNumber = 0.001
    attention_beside: Literal["mean", "sum"] = "mean"

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model itself, which must have attention."""
        if self.attention_weight:
            require_attention(model, "defense=a_art")
        return model

    def fit(self, model: nn.Module, batch: Batch, crafted: Crafted, step: Step) -> tuple[Tensor, Logs]:
        """Return ART's loss plus the weighted distance of the attention maps."""
        if not self.attention_weight or crafted.clips is batch.inputs:
            return super().fit(model, batch, crafted, step)
        with same_draws(batch.inputs.device):
            out, maps = with_attention(model, batch.inputs)
        out_adv, maps_adv = with_attention(model, crafted.clips)
        loss, logs = self.regularised(out, out_adv, batch.target)
        apart = distance(maps, maps_adv).mean()
        logs["attention_distance"] = apart.detach()
        several = self.attention_beside == "mean" and batch.target.dtype == torch.bool and batch.target.ndim == 2
        return loss + float(self.attention_weight) * (batch.target.shape[1] if several else 1) * apart, logs

    @property
    def _regularises(self) -> bool:
        return float(self.adversarial_weight) > 0 or float(self.attention_weight) > 0

    @property
    def _name(self) -> str:
        return "a_art"

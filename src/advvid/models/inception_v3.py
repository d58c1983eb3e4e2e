"""Torchvision's Inception-v3 without its auxiliary head, begun so that it answers before any training."""

from __future__ import annotations

from torch import nn
from torchvision.models import Inception3

from advvid.core.allowed import checked
from advvid.core.kinds import Count


@checked
class InceptionV3(Inception3):
    """Inception-v3 (Szegedy et al. 2016), for single frames.

    The auxiliary head is left out: it serves long training from scratch only, and no score ever uses it. Torchvision's
    own starting weights lead to logits of 1e11 in evaluation mode, where BatchNorm has not yet seen anything; those of
    He et al. 2015 keep the size of the features, so that attacks have a gradient from the first epoch on.

    Args:
        num_classes: number of logits, K.

    Shape:
        images ``[N, 3, H, W]``, scaled to [-1, 1]; logits ``[N, K]``. Published for 299 pixels a side; from 75 upwards.

    Example:
        >>> import torch
        >>> InceptionV3(10).eval()(torch.rand(1, 3, 75, 75)).shape
        torch.Size([1, 10])
    """

    def __init__(self, num_classes: Count) -> None:
        super().__init__(num_classes, aux_logits=False, transform_input=False, init_weights=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

"""Both pathways of SlowFast behind the interface of an ordinary network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advvid.core.allowed import checked
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count


@checked
class SlowFast(nn.Module):
    """Feeds a two-pathway network from one clip: all frames to the fast pathway, every fourth or so to the slow one.

    Feichtenhofer et al. 2019, section 3. The slow pathway's frames are spread evenly from the first to the last.

    Args:
        net: takes ``[slow, fast]`` and gives logits.
        alpha: how many times more frames the fast pathway gets.

    Shape:
        clips ``[B, 3, T, H, W]`` with T a multiple of ``alpha``; logits ``[B, K]``.
    """

    def __init__(self, net: nn.Module, alpha: Count = 4) -> None:
        super().__init__()
        self.net = net
        self.alpha = alpha

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits ``[B, K]``.

        Raises:
            AdvvidError: if the number of frames is no multiple of ``alpha``.
        """
        frames = clips.shape[2]
        if frames % self.alpha:
            raise AdvvidError(
                f"SlowFast needs a multiple of {self.alpha} frames but got {frames}: set model.frames or dataset.frames to one"
            )
        index = torch.linspace(0, frames - 1, frames // self.alpha, device=clips.device).long()
        # A list of its own per call: the network replaces its entries.
        return self.net([clips.index_select(2, index), clips])

"""Training on clips of which one block is kept, which certificates by ablation ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.batch import Batch, clip_generators
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, Share
from advvid.defenses.base import Defense, Logs, Step
from advvid.models.ablated import Blocks, Keep


@dataclass(kw_only=True)
class BlockAblation(Defense):
    """Training on one block of frames or columns, the rest grey (Levine & Feizi 2020, sec. 4). Cost per clip: 1 pass.

    Where the block begins is drawn evenly for each clip. ``analysis=ablation`` and ``analysis=ablation_patches`` certify the
    vote of such a model over all places of the block; ``keep``, ``block`` and ``fill`` are theirs.

    Args:
        keep: ``frames`` or ``columns``.
        block: how many of them are kept.
        fill: value of all that is not kept.

    Example:
        >>> BlockAblation(block=2).objective(model, batch, {}, step)     # doctest: +SKIP
    """

    keep: Keep = "frames"
    block: Count = 2
    fill: Share = 0.5

    def require_shape(self, shape: Sequence[int]) -> None:
        """Refuse inputs that are no clips, or are smaller than a block."""
        if len(shape) != 4:
            raise AdvvidError(
                f"defense={self.keep[:-1]}_ablation keeps {self.keep} of clips [3, T, H, W], not of inputs of shape "
                f"{' x '.join(map(str, shape))}: choose a data set of clips"
            )
        Blocks(self.keep, self.block).length((1, *shape))

    def objective(
        self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step
    ) -> tuple[Tensor, Logs]:
        """Return the loss on ablated clips; a clip's block depends on the step and its id alone."""
        blocks = Blocks(self.keep, self.block, self.fill)
        kept = blocks.kept(batch.inputs.shape)
        generators = clip_generators(step.seed, step.key, batch.ids)
        places = torch.stack([torch.randint(len(kept), (), generator=generator) for generator in generators])
        return self.fit_to(model, blocks.ablate(batch.inputs, kept[places]), batch.target, passes=1)

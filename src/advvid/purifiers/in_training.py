"""Purifiers in front of a model while it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from advvid.purifiers.base import Purifier
from advvid.purifiers.purified import PurifiedModel


class TrainingFront:
    """Every call of a model gets purified clips; its weights, names and checkpoints stay as they are.

    Training, the attacks of training and validation all see the purifiers: gradients flow through a differentiable one,
    and through the stand-in of another (BPDA), as in the adaptive attacks of the table. Random purifiers draw anew at
    every step of the weights, from PyTorch's own generator, which training seeds by the step; attacks and validation,
    which ask a model in evaluation mode, draw by the values of the clip.

    Args:
        purifiers: in order.
        seed: of the draws in evaluation mode.
        frames: of one view of a video.

    Shape:
        clips ``[B, 3, views * T, H, W]`` in [0, 1], the model's only argument.

    Example:
        >>> front = TrainingFront([Halftone()], seed=0, frames=8)               # doctest: +SKIP
        >>> front.put_before(model)                                             # doctest: +SKIP
        >>> TrainingFront.take_away(model)                                      # doctest: +SKIP
    """

    def __init__(self, purifiers: Sequence[Purifier], seed: int, frames: int) -> None:
        self.front = PurifiedModel(purifiers, nn.Identity(), seed, frames, draws=1).eval()

    def put_before(self, model: nn.Module) -> None:
        """Stand before a model, on its device. A copy of the model has a copy of this before it."""
        self.front.to(next(model.parameters()).device)
        model.register_forward_pre_hook(self)

    @staticmethod
    def take_away(model: nn.Module) -> None:
        """Leave the model, and whatever it is made of, without a front."""
        for module in model.modules():
            held = module._forward_pre_hooks
            for key in [key for key, hook in held.items() if isinstance(hook, TrainingFront)]:
                del held[key]

    def __call__(self, model: nn.Module, given: tuple[Any, ...]) -> tuple[Tensor]:
        """Return what the model gets in place of what it was given."""
        (clips,) = given
        with torch.autocast(clips.device.type, enabled=False):
            return (self.front.purify(clips, own_draws=not model.training),)

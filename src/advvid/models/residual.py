"""Modules put after the residual blocks of any ResNet here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pytorchvideo.models.resnet import ResBlock
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models import resnet as images
from torchvision.models.video import resnet as clips

from advvid.core.errors import AdvvidError
from advvid.models import r3d_tiny, resnet3d
from advvid.models.modes import mode

BLOCKS = (
    r3d_tiny.ResidualBlock,
    resnet3d.BasicBlock,
    resnet3d.Bottleneck,
    clips.BasicBlock,
    clips.Bottleneck,
    images.BasicBlock,
    images.Bottleneck,
    ResBlock,
)


@dataclass(frozen=True)
class Place:
    """Where a residual block stands.

    Args:
        parent: the module that holds it.
        name: of the block there.
        block: itself.
        stage: number of its stage, from 0: blocks in one sequence are one stage.
        channels: that leave it.
    """

    parent: nn.Module
    name: str
    block: nn.Module
    stage: int
    channels: int


class Followed(nn.Module):
    """A block with something added to what leaves it: ``y + strength * added(y)`` for ``y = block(x)``."""

    def __init__(self, block: nn.Module, added: nn.Module, strength: float = 1.0) -> None:
        super().__init__()
        self.block, self.added, self.strength = block, added, strength

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the block's shape, ``[B, C, T, H, W]`` or, for networks on frames, ``[N, C, H, W]``."""
        y = self.block(x)
        # A frame is a clip of one frame.
        more = self.added(y) if y.dim() == 5 else self.added(y.unsqueeze(2)).squeeze(2)
        return y + self.strength * more


def residual_blocks(net: nn.Module, defense: str) -> list[Place]:
    """Return every residual block of a network, in the order in which it is registered.

    Raises:
        AdvvidError: if there is none.
    """
    found: list[Place] = []
    stage = -1
    for parent in net.modules():
        if isinstance(parent, BLOCKS):
            continue
        inside = [(name, child) for name, child in parent.named_children() if isinstance(child, BLOCKS)]
        together = isinstance(parent, nn.Sequential | nn.ModuleList)
        for index, (name, block) in enumerate(inside):
            stage += not together or index == 0
            found.append(Place(parent, name, block, stage, _channels_out(block)))
    if not found:
        raise AdvvidError(
            f"defense={defense} works on the features after residual blocks, which the model does not have: choose a ResNet "
            "such as r3d_18, resnet3d_18 or r3d_tiny"
        )
    return found


def add_after(
    net: nn.Module, defense: str, after: str, make: Callable[[Place], nn.Module], strength: float = 1.0
) -> int:
    """Put a module after residual blocks, in place.

    Args:
        net: the network.
        defense: whose modules these are, for messages.
        after: every ``block``, or the last block of each ``stage``.
        make: the module, which maps features ``[B, C, T, H, W]`` to what is added to them.
        strength: factor on what is added.

    Returns:
        how many were put.

    Raises:
        AdvvidError: if the network has no residual blocks, or ``after`` is neither.
    """
    places = residual_blocks(net, defense)
    if after == "stage":
        places = list({place.stage: place for place in places}.values())
    for place in places:
        setattr(place.parent, place.name, Followed(place.block, make(place), strength))
    return len(places)


def frames_after(model: nn.Module, places: list[Place], clip_shape: tuple[int, ...]) -> list[int]:
    """Return how many frames the features have after each block, for clips ``(3, T, H, W)``."""
    seen: dict[int, int] = {}
    hooks = [
        place.block.register_forward_hook(lambda _, __, y, i=i: seen.update({i: y.shape[2] if y.dim() == 5 else 1}))
        for i, place in enumerate(places)
    ]
    try:
        with mode(model, False), torch.no_grad():
            parameter = next(model.parameters())
            model(torch.zeros(1, *clip_shape, device=parameter.device))
    finally:
        for hook in hooks:
            hook.remove()
    return [seen[i] for i in range(len(places))]


def _channels_out(block: nn.Module) -> int:
    """Return the channels of a block's output: those of the layer registered last, of either road."""
    sizes = [
        module.num_features if isinstance(module, _BatchNorm) else module.out_channels
        for module in block.modules()
        if isinstance(module, _BatchNorm | nn.Conv2d | nn.Conv3d)
    ]
    return int(sizes[-1])

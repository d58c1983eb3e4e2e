"""What a model costs: its weights and the multiply-adds of one clip, counted without computing anything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from advvid.config.catalogue import describe, settings
from advvid.config.instantiate import safe_instantiate
from advvid.core.errors import AdvvidError

# The clip of the embedded data, on which a model is counted whose file names no other.
CLIP = (8, 32, 32)


@dataclass(frozen=True)
class Cost:
    """What a network costs on one clip.

    Attributes:
        weights: number of trainable and frozen parameters.
        multiply_adds: of its convolutions, linear layers, recurrent layers and attention; half of what is called FLOPs.
    """

    weights: int
    multiply_adds: int


def native_clip(path: Path) -> tuple[int, ...]:
    """Return (frames, height, width) of the clips that a model was made for, as the first line of its YAML file says.

    Where that names no clip, it is the model's own ``frames`` and ``size``, and for what these leave open a clip of the
    embedded data. Models of frame features give (frames, values).

    Example:
        >>> native_clip(conf_dir() / "model" / "c3d.yaml")
        (16, 112, 112)
    """
    found = re.search(r"(\d+) x (\d+) x (\d+)|(\d+) x (\d+) features", describe(path))
    if found is not None:
        return tuple(int(number) for number in found.groups() if number is not None)
    own = settings(path)
    side = own.get("size") or CLIP[1]
    return (own.get("frames") or CLIP[0], side, side)


def measure(path: Path, num_classes: int = 400) -> Cost:
    """Count what the network of a model's YAML file costs on one clip of the size that it was made for (see ``native_clip``).

    The network is made of tensors without data, so that even the largest takes about a second.

    Raises:
        AdvvidError: if its network cannot be made or cannot take such a clip.

    Example:
        >>> measure(conf_dir() / "model" / "c3d.yaml").multiply_adds / 1e9
        38.548721664
    """
    clip = native_clip(path)
    shape = [3, *clip] if len(clip) == 3 else [*clip]
    config = OmegaConf.create({"model": settings(path)}).model
    config.num_classes, config.clip_shape = num_classes, shape
    net = _without_data(config.get("net", config)).eval()  # some models are their own wrapper
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            net(torch.empty(1, *shape, device="meta"))
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        size = " x ".join(map(str, clip))
        raise AdvvidError(
            f"{path.stem} cannot take a clip of {size} ({reason}): name the clip that it was made for in the first line of "
            f"{path}, as frames x height x width, such as 16 x 112 x 112"
        ) from error
    return Cost(sum(p.numel() for p in net.parameters()), counter.get_total_flops() // 2)


def short(number: float) -> str:
    """Return a number as people write it: three digits with k, M or G.

    Example:
        >>> short(38_548_721_664)
        '38.5 G'
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            digits = f"{number / size:.3g}"
            return f"{digits if 'e' not in digits else round(number / size)} {unit}"
    return f"{number:.0f}"


def _without_data(node: object) -> nn.Module:
    try:
        with torch.device("meta"):
            net = safe_instantiate(node)
    except AdvvidError:  # a few read values while they are made: make them whole, then empty them
        net = safe_instantiate(node).to("meta")
    if not isinstance(net, nn.Module):
        raise AdvvidError("model.net is no network: give it the _target_ of one")
    return net

"""Keeping part of a network as it is while the rest is trained."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from advvid.core.errors import AdvvidError

BACKBONE = "backbone"


def last_layer(net: nn.Module) -> str:
    """Return the name of the layer that gives the logits: the last linear or convolutional layer of the network.

    Raises:
        AdvvidError: if the network has no such layer.
    """
    names = [name for name, module in net.named_modules() if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d)]
    if not names:
        raise AdvvidError("the network has no linear or convolutional layer, so that its head cannot be told apart")
    return names[-1]


def freeze(net: nn.Module, what: str | Sequence[str] | None) -> None:
    """Exclude parameters from training.

    Args:
        net: the network.
        what: None for nothing, ``backbone`` for all but the last layer, or the first parts of parameter names, such
            as ``["stem", "layer1"]``.

    Raises:
        AdvvidError: if a name fits no parameter of the network.
    """
    if what is None:
        return
    if what == BACKBONE:
        head = last_layer(net)
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(_below(name, head))
        return
    children = ", ".join(name for name, _ in net.named_children())
    if isinstance(what, str):
        raise AdvvidError(f"model.freeze={what} is not known: write null, backbone or a list of: {children}")
    for prefix in what:
        chosen = [parameter for name, parameter in net.named_parameters() if _below(name, prefix)]
        if not chosen:
            raise AdvvidError(f"model.freeze names {prefix}, of which the network has nothing: it has {children}")
        for parameter in chosen:
            parameter.requires_grad_(False)


def rest_frozen(net: nn.Module) -> None:
    """Put every wholly frozen part into eval mode, so that its BatchNorm statistics stay as they are, too."""
    for module in net.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def _below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")

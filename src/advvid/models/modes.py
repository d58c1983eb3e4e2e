"""Training and evaluation mode for as long as a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Put every module into training or evaluation mode, and back into its own afterwards.

    Example:
        >>> layer = nn.BatchNorm3d(3)
        >>> with mode(layer, False):
        ...     layer.training
        False
        >>> layer.training
        True
    """
    flags = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag

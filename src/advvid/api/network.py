"""Any network as advvid asks it: clips in [0, 1] in, logits out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from advvid.core.errors import AdvvidError


class Network(nn.Module):
    """A user's network: its output is taken out of a Hugging Face object, clips are laid out as it wants them.

    Args:
        model: maps clips to logits, or to an object that has ``logits``.
        frames_first: whether it takes ``[B, T, 3, H, W]``.

    Raises:
        AdvvidError: for what is no module, or has weights that allow no gradient.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1]; returns logits ``[B, K]``.

    Example:
        >>> Network(nn.Sequential(nn.Flatten(), nn.Linear(96, 5)))(torch.rand(2, 3, 2, 4, 4)).shape
        torch.Size([2, 5])
    """

    def __init__(self, model: nn.Module, frames_first: bool = False) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise AdvvidError(f"model is a {type(model).__name__}: give a torch.nn.Module that maps clips to logits")
        if any(tensor.is_inference() for tensor in (*model.parameters(), *model.buffers())):
            raise AdvvidError(
                "the model was made under torch.inference_mode(): make it outside, or no gradient can be taken"
            )
        self.model, self.frames_first = model, frames_first

    def forward(self, clips: Tensor) -> Tensor:
        """Return the logits of clips."""
        out = self.model(clips.transpose(1, 2) if self.frames_first else clips)
        out = getattr(out, "logits", out)
        if not isinstance(out, Tensor):
            raise AdvvidError(
                f"the model puts out a {type(out).__name__}: wrap it in a module that returns its logits [B, K] alone"
            )
        return out


class Normalised(nn.Module):
    """Puts a network's normalisation inside, so that clips and budgets stay in [0, 1].

    Args:
        model: takes normalised clips.
        mean: of each channel, in [0, 1].
        std: of each channel.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1].

    Example:
        >>> Normalised(nn.Identity(), [0.5] * 3, [0.5] * 3)(torch.ones(1, 3, 1, 1, 1)).unique()
        tensor([1.])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(list(values), dtype=torch.float32).view(1, -1, 1, 1, 1))

    def forward(self, clips: Tensor) -> Tensor:
        """Return what the network says of normalised clips."""
        out: Tensor = self.model((clips - self.mean) / self.std)
        return out


@contextmanager
def left_as_found(model: nn.Module) -> Iterator[None]:
    """Give a model back as it was: on its device, each module in its mode."""
    modes = {module: module.training for module in model.modules()}
    first = next(iter([*model.parameters(), *model.buffers()]), None)
    device = None if first is None else first.device
    try:
        yield
    finally:
        if device is not None:
            model.to(device)
        for module, mode in modes.items():
            module.training = mode

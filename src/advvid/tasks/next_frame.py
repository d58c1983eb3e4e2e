"""Next-frame prediction: the task of Moving-MNIST, where no answer is right or wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from advvid.metrics.similarity import ssim


@dataclass(frozen=True)
class NextFrame:
    """Every frame's next one, scored by its mean squared error (Mu et al., DeepSAVA, app. C, eq. C.1).

    The input is ``x_1 ... x_T``, the target ``x_2 ... x_(T+1)``. An attack raises the error and lowers the SSIM;
    nothing is fooled or not, so that there is no accuracy.

    Shape:
        out: ``[B, C, T, H, W]``; target: the same shape, in [0, 1] or as uint8 from 0 to 255.

    Example:
        >>> frames = torch.zeros(1, 1, 2, 16, 16)
        >>> NextFrame().loss(frames + 0.1, frames)
        tensor([0.0100])
    """

    output: ClassVar[str] = "frames"

    def loss(self, out: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared error of each clip over all its predicted frames, ``[B]``, in float32."""
        return (out.float() - as_pixels(target)).square().flatten(1).mean(dim=1)

    def correct(self, out: Tensor, target: Tensor) -> None:
        """Return None: a prediction is near or far, not right or wrong."""

    def predict(self, out: Tensor) -> Tensor:
        """Return the mean brightness of each clip's predicted frames, ``[B]``: one number that tells predictions apart."""
        return out.float().flatten(1).mean(dim=1)

    def label(self, target: Tensor) -> list[Any]:
        """Return None for each clip: frames have no place in a line of text."""
        return [None] * len(target)

    def margin(self, out: Tensor, target: Tensor) -> None:
        """Return None: there is no verdict that could tip over."""

    def metrics(self, outs: Tensor, targets: Tensor) -> dict[str, Any]:
        """Return mean squared error and SSIM, the mean over frames and clips, of all frames and of the last one alone.

        The last frame is the one that nothing but the whole clip tells.
        """
        if not len(outs):
            return {}
        errors, likeness = [], []
        for out, target in zip(outs.split(32), targets.split(32), strict=True):  # SSIM keeps five copies
            pixels = as_pixels(target)
            errors.append((out.float() - pixels).square().mean(dim=(1, 3, 4)))
            likeness.append(ssim(out, pixels))
        error, alike = torch.cat(errors), torch.cat(likeness)
        return {
            "mse": error.mean().item(),
            "ssim": alike.mean().item(),
            "mse_last": error[:, -1].mean().item(),
            "ssim_last": alike[:, -1].mean().item(),
        }


def as_pixels(frames: Tensor) -> Tensor:
    """Return frames as float32 in [0, 1]; targets travel as bytes."""
    return frames.float() / 255 if frames.dtype == torch.uint8 else frames.float()

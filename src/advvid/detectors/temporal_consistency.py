"""Adversarial clips told by frames whose label differs from both neighbours' (Jia et al., sec. on detection)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from advvid.core.allowed import check_fields
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Share
from advvid.models.per_frame import PerFrame

BENIGN, SPARSE, DENSE = 0, 1, 2


def exception_index(labels: Tensor) -> Tensor:
    """Return the exception index alpha of each clip (Jia et al., eq. 1): the share of frames that no neighbour agrees with.

    The sum runs over n = 2 ... T - 1, since the equation's n = T would read past the last frame; the divisor is T.

    Shape:
        labels: the predicted class of every frame, ``[B, T]``; result: float64 ``[B]`` in [0, 1).

    Example:
        >>> exception_index(torch.tensor([[1, 1, 2, 1, 1]]))
        tensor([0.2000], dtype=torch.float64)
    """
    if labels.dim() != 2 or not labels.shape[1]:
        raise AdvvidError(f"the exception index needs a label for every frame, [B, T], got {list(labels.shape)}")
    differs = labels[:, 1:] != labels[:, :-1]
    # In float32, 7 of 40 frames would lie below a threshold of 0.175.
    return (differs[:, :-1] & differs[:, 1:]).sum(dim=1).double() / labels.shape[1]


def smooth_index(logits: Tensor) -> Tensor:
    """Return the exception index with probabilities in place of labels, for attacks that follow its gradient.

    That two frames differ counts as one minus the inner product of their class probabilities; where every frame is sure
    of one class this is the exception index.

    Shape:
        logits: of every frame, ``[B, T, K]``; result: ``[B]``.
    """
    sure = logits.float().softmax(dim=2)
    differs = 1 - (sure[:, 1:] * sure[:, :-1]).sum(dim=2)
    return (differs[:, :-1] * differs[:, 1:]).sum(dim=1) / logits.shape[1]


def frame_logits(model: nn.Module, clips: Tensor) -> Tensor:
    """Return a network's answer to every frame by itself, ``[B, T, K]``.

    A network that reads single frames is asked with its recurrent links cut (``PerFrame``); any other one is shown
    clips in which one frame stands still.

    Shape:
        clips: ``[B, 3, T, H, W]`` in [0, 1].
    """
    if isinstance(model, PerFrame):
        return model.per_frame(clips)
    length = clips.shape[2]
    frozen = [model(clips[:, :, n : n + 1].expand(-1, -1, length, -1, -1)) for n in range(length)]
    return torch.stack(frozen, dim=1)


@dataclass(frozen=True, kw_only=True)
class TemporalConsistency:
    """The detector of Jia et al.: thresholds on the exception index.

    Args:
        gamma_1: from this index on a clip counts as attacked.
        gamma_2: from this index on the attack counts as dense, below as sparse.

    Example:
        >>> TemporalConsistency().verdict(torch.tensor([0.0, 0.2, 0.5])).tolist()
        [0, 1, 2]
    """

    title: ClassVar[str] = "Temporal consistency"
    axis: ClassVar[str] = "exception index"

    gamma_1: Share = 0.175
    gamma_2: Share = 0.3

    def __post_init__(self) -> None:
        check_fields(self)
        if self.gamma_1 > self.gamma_2:
            raise AdvvidError(
                f"gamma_1={self.gamma_1:g} and gamma_2={self.gamma_2:g} are not possible: choose gamma_1 <= gamma_2"
            )

    def reading(self, model: nn.Module) -> str:
        """Say in words what of a network is compared."""
        return "links cut" if isinstance(model, PerFrame) else "each frame standing still"

    def outputs(self, model: nn.Module, clips: Tensor) -> Tensor:
        """Return the logits whose answers are compared, ``[B, n, K]``: those of every frame by itself."""
        return frame_logits(model, clips)

    def index_of(self, outputs: Tensor) -> Tensor:
        """Return the index of what ``outputs`` gave, float64 ``[B]``."""
        return exception_index(outputs.argmax(dim=2))

    def smooth(self, outputs: Tensor) -> Tensor:
        """Return the index with probabilities in place of answers, which has a gradient, ``[B]``."""
        return smooth_index(outputs)

    def index(self, model: nn.Module, clips: Tensor) -> Tensor:
        """Return the index of clips under a network, float64 ``[B]``."""
        with torch.no_grad():
            return self.index_of(self.outputs(model, clips))

    def verdict(self, index: Tensor) -> Tensor:
        """Return ``BENIGN``, ``SPARSE`` or ``DENSE`` for each index, int64 ``[B]``."""
        return (index >= self.gamma_1).long() + (index >= self.gamma_2).long()

"""Ablation: clips of which a block of frames or columns is kept, and the vote of a model over all places of the block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from advvid.core.errors import AdvvidError

Keep = Literal["frames", "columns"]
# Where each lies in clips [B, 3, T, H, W].
AXIS = {"frames": 2, "columns": 4}
# Ablated clips that the model sees at once, or as many as there are in a batch.
TOGETHER = 64
# How far the class with most votes is put above the others where the mean probability says otherwise.
LIFT = 1e-3


@dataclass(frozen=True)
class Blocks:
    """Blocks of consecutive frames or columns of pixels, one for each place at which a block can begin.

    A block goes on at the first frame after the last (Levine & Feizi 2020, structured ablation, block smoothing). What is not
    kept has one value. The paper marks it in three further channels; here it is ``fill``, so that any network can be
    asked. The proof holds for either, since it needs only that an answer does not depend on what is not kept.

    Args:
        keep: ``frames`` or ``columns``.
        size: of a block, in frames or pixels.
        fill: value of all that is not kept.

    Example:
        >>> Blocks(size=2).kept((1, 3, 4, 8, 8)).int().tolist()
        [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]
    """

    keep: Keep = "frames"
    size: int = 2
    fill: float = 0.5

    def length(self, shape: Sequence[int]) -> int:
        """Return how many frames or columns clips of shape ``[B, 3, T, H, W]`` have, which is how many blocks there are.

        Raises:
            AdvvidError: if a block is larger than that.
        """
        length = shape[AXIS[self.keep]]
        if self.size > length:
            raise AdvvidError(
                f"block={self.size} is not possible with {length} {self.keep}: choose a block of at most {length}"
            )
        return length

    def kept(self, shape: Sequence[int]) -> Tensor:
        """Return which frames or columns each block keeps, ``bool [P, L]`` with P = L, in the order of where they begin."""
        place = torch.arange(self.length(shape))
        return (place[None] - place[:, None]) % len(place) < self.size

    def ablate(self, clips: Tensor, kept: Tensor) -> Tensor:
        """Return clips of which all but a block is ``fill``.

        Shape:
            clips: ``[B, 3, T, H, W]``; kept: ``bool [B or 1, L]``.
        """
        shape = [1] * clips.dim()
        shape[0], shape[AXIS[self.keep]] = kept.shape
        return clips.masked_fill(~kept.to(clips.device, non_blocking=True).view(shape), self.fill)

    def touched(self, changed: int, length: int, anywhere: bool) -> int:
        """Return the largest number of blocks that a change of so many frames or columns can reach.

        Args:
            changed: how many change.
            length: how many there are.
            anywhere: whether they lie anywhere, or next to each other.
        """
        return min(length, self.size * changed if anywhere else self.size + changed - 1) if changed else 0


def winner(votes: Tensor) -> Tensor:
    """Return the class with most votes, the lowest number of equals, int64 ``[B]``.

    Shape:
        votes: int ``[B, K]``.
    """
    classes = votes.shape[1]
    return (votes * classes - torch.arange(classes, device=votes.device)).argmax(dim=1)


def margins(votes: Tensor) -> Tensor:
    """Return by how many votes the winner could not be beaten or tied against it, int64 ``[B]``.

    ``n_c - max_k (n_k + 1[k < c])`` over the other classes k. The answer stays under every change that reaches at most
    half as many blocks (Levine & Feizi 2020, theorem 1), since each moves one vote at most.

    Example:
        >>> margins(torch.tensor([[1, 5], [5, 1], [4, 4]])).tolist()
        [3, 4, 0]
    """
    top = winner(votes)[:, None]
    rivals = votes + (torch.arange(votes.shape[1], device=votes.device) < top)
    rivals = rivals.scatter(1, top, -1)
    return votes.gather(1, top).squeeze(1) - rivals.amax(dim=1)


class Voted(nn.Module):
    """A model that answers what the given one answers most often over all places of the block.

    Its scores are the logarithm of the mean probability, for attacks to climb; where its argmax is not the winner of the
    vote, the winner is put just above, so that an attack succeeds on this model exactly where it changes the vote.

    Args:
        model: logits ``[B, K]`` of clips.
        blocks: what it is shown.
    """

    def __init__(self, model: nn.Module, blocks: Blocks) -> None:
        super().__init__()
        self.model, self.blocks = model, blocks

    def votes(self, clips: Tensor) -> Tensor:
        """Return how many blocks each class is the answer to, int64 ``[B, K]``."""
        with torch.no_grad():
            return _counted(self._logs(clips))

    def forward(self, clips: Tensor) -> Tensor:
        """Return scores ``[B, K]`` whose argmax is the winner of the vote."""
        logs = self._logs(clips)
        scores = logs.logsumexp(dim=0) - math.log(len(logs))
        known = scores.detach()
        top = winner(_counted(logs))[:, None]
        above = known.scatter(1, top, -torch.inf).amax(dim=1, keepdim=True) - known.gather(1, top)
        return scores.scatter_add(1, top, torch.where(above >= 0, above + LIFT, 0.0))

    def _logs(self, clips: Tensor) -> Tensor:
        """Return the log-probabilities of every block, ``[P, B, K]``; a graph holds one group's activations at a time."""
        blocks = self.blocks.kept(clips.shape).to(clips.device, non_blocking=True)
        groups = blocks.split(max(1, TOGETHER // len(clips)))
        return torch.cat([checkpoint(self._group, clips, kept, use_reentrant=False) for kept in groups])

    def _group(self, clips: Tensor, kept: Tensor) -> Tensor:
        shown = torch.cat([self.blocks.ablate(clips, block[None]) for block in kept])
        logits: Tensor = self.model(shown)
        return logits.log_softmax(dim=1).unflatten(0, (len(kept), len(clips)))


def _counted(logs: Tensor) -> Tensor:
    """Return votes ``[B, K]`` of log-probabilities ``[P, B, K]``."""
    answers = logs.detach().argmax(dim=2)
    return nn.functional.one_hot(answers, logs.shape[2]).sum(dim=0)

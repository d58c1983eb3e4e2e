"""Sparse attack: additive noise on few frames, held down in the l2,1 norm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advvid.attacks.penalised import Variables
from advvid.attacks.selection import Selection
from advvid.attacks.sparse_attack import SparseAttack
from advvid.core.batch import Space
from advvid.threats.base import Aux
from advvid.threats.sparse import SparseFrames, l21


@dataclass(frozen=True, kw_only=True)
class Sparse(SparseAttack):
    """Sparse attack of Wei et al. 2019 (eq. 1), the baseline of DeepSAVA (sec. 4.1): noise on N frames.

    Distance: l2,1, the sum over frames of the root mean square change. The defaults are those of DeepSAVA's table 3;
    Wei et al. themselves perturb ``given=[0,11,12,13,19,20,21,22,32,33]`` of 40 frames.

    Other arguments: see ``SparseAttack``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``aux["frames"]`` is ``bool [B, T]``.

    Example:
        >>> Sparse(frames=2).threat.budget
        '2 frames (0, 1)'
    """

    @property
    def threat(self) -> SparseFrames:
        """All clips that differ in at most N frames."""
        return SparseFrames(self.frames, self.space, self.measure, self.budget, self.only)

    def change(self, height: int, width: int) -> Noise:
        """Return additive noise."""
        return Noise(self.space, float(self.step_size))


@dataclass(frozen=True)
class Noise:
    """Any change of the values, measured in l2,1; see ``advvid.attacks.penalised.Change``."""

    space: Space
    step_size: float

    def start(self, frames: Tensor) -> Variables:
        """Return no noise."""
        return {"noise": torch.zeros_like(frames)}

    def step_sizes(self) -> dict[str, float]:
        """Return the learning rate of the noise."""
        return {"noise": self.step_size}

    def apply(self, frames: Tensor, variables: Variables) -> Tensor:
        """Return the frames plus the noise."""
        return self.space.clamp(frames + variables["noise"])

    def penalty(self, changed: Tensor, frames: Tensor, variables: Variables, selection: Selection) -> Tensor:
        """Return the l2,1 norm of the noise."""
        return l21(variables["noise"])

    def tidy(self, frames: Tensor, variables: Variables) -> Variables:
        """Cut the noise to what stays in the range: beyond it the model gives no gradient back."""
        return {"noise": self.space.clamp(frames + variables["noise"]) - frames}

    def describe(self, clips: Tensor, variables: Variables, selection: Selection) -> Aux:
        """Return nothing: the clips tell all."""
        return {}

"""Sparse flickering: one colour offset on each of few frames."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from advvid.attacks.flicker import differences
from advvid.attacks.penalised import Variables
from advvid.attacks.selection import Selection
from advvid.attacks.sparse_attack import SparseAttack
from advvid.core.batch import Space
from advvid.core.kinds import NotNegative
from advvid.threats.base import Aux
from advvid.threats.offsets import Offsets
from advvid.threats.sparse import SparseOffsets


@dataclass(frozen=True, kw_only=True)
class SparseFlickering(SparseAttack):
    """Flickering confined to N frames, the second baseline of DeepSAVA (sec. 4.1, table 3).

    The penalty is that of Pony et al. 2021: thickness (mean square offset) and roughness (mean squares of its first and
    second cyclic differences in time), over the whole clip, in which the other frames have offset zero.

    Args:
        thickness: weight of the thickness inside the penalty.
        roughness: weight of the roughness inside the penalty. Other arguments: see ``SparseAttack``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``aux``: ``frames bool [B, T]``, ``pattern [B, 3, T]``.

    Example:
        >>> SparseFlickering(frames=1).threat.budget
        '1 frame (0), one offset per frame and channel'
    """

    thickness: NotNegative = 0.5
    roughness: NotNegative = 0.5

    @property
    def threat(self) -> SparseOffsets:
        """All offsets per channel on at most N frames."""
        return SparseOffsets(self.frames, self.space, self.measure, self.budget, self.only)

    def change(self, height: int, width: int) -> FrameOffsets:
        """Return offsets per frame and channel."""
        return FrameOffsets(self.space, float(self.step_size), self.thickness, self.roughness)


@dataclass(frozen=True)
class FrameOffsets:
    """One number per frame and channel; see ``advvid.attacks.penalised.Change``."""

    space: Space
    step_size: float
    thickness: float
    roughness: float

    def start(self, frames: Tensor) -> Variables:
        """Return no offset, ``[B, 3, N]``."""
        return {"pattern": frames.new_zeros(frames.shape[:3])}

    def step_sizes(self) -> dict[str, float]:
        """Return the learning rate of the offsets."""
        return {"pattern": self.step_size}

    def apply(self, frames: Tensor, variables: Variables) -> Tensor:
        """Return the frames under their offsets."""
        return Offsets(self.space).apply(frames, variables["pattern"])

    def penalty(self, changed: Tensor, frames: Tensor, variables: Variables, selection: Selection) -> Tensor:
        """Return the weighted thickness and roughness of the clip's offsets."""
        whole = self._whole(variables["pattern"], selection)
        first, second = (d.square().flatten(1).mean(dim=1) for d in differences(whole))
        return self.thickness * whole.square().flatten(1).mean(dim=1) + self.roughness * (first + second)

    def tidy(self, frames: Tensor, variables: Variables) -> Variables:
        """Cut the offsets to the width of the space: beyond it every pixel is at one end."""
        return {"pattern": variables["pattern"].clamp(-self.space.width, self.space.width)}

    def describe(self, clips: Tensor, variables: Variables, selection: Selection) -> Aux:
        """Return the offsets of all frames, ``[B, 3, T]``."""
        return {"pattern": self._whole(variables["pattern"], selection)}

    def _whole(self, pattern: Tensor, selection: Selection) -> Tensor:
        return selection.put(pattern.new_zeros(*pattern.shape[:2], selection.length), pattern)

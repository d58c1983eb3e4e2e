"""What only video has: frames that are missing, in another order, or stand still."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from advvid.attacks.corruption import Corruption

# By severity. Schiappa et al. 2022 count in frames of a whole video; a clip of few frames takes shares of its own instead.
KEPT = (3 / 4, 1 / 2, 3 / 8, 1 / 4, 1 / 8)  # share of the frames that are left
SEGMENT = (1 / 4, 3 / 8, 1 / 2, 3 / 4, 1)  # length of a segment whose frames change places, as a share of the clip
BOXES = (2, 3, 4, 6, 8)  # segments that change places as wholes


@dataclass(frozen=True, kw_only=True)
class TimeCorruption(Corruption):
    """Frames in the wrong place (Schiappa et al. 2022, temporal): every frame is one of the clip's own.

    ``sampling``: a share of the frames, evenly spaced, each held until the next. ``reversing``: the same, last frame first.
    ``freezing``: the frames that are left are drawn, the first apart. ``jumbling``: the frames of each segment in random
    order. ``box_jumbling``: the segments themselves in random order.

    Args:
        kind: of disorder.
        severity: see ``Corruption``.

    Example:
        >>> TimeCorruption(kind="box_jumbling").threat.budget
        'corruption: box jumbling of frames, severity 3 of 5'
    """

    kind: Literal["sampling", "reversing", "freezing", "jumbling", "box_jumbling"] = "jumbling"

    @property
    def words(self) -> str:
        """The kind of corruption in words."""
        return f"{self.kind.replace('_', ' ')} of frames"

    def corrupt(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        """Return one clip with its frames in another order."""
        return clip[:, self.order(clip.shape[1], generator)]

    def order(self, count: int, generator: torch.Generator) -> Tensor:
        """Return which frame is shown at each place, ``int64 [count]``."""
        at, places = self.severity - 1, torch.arange(count)
        left = max(1, round(KEPT[at] * count))
        if self.kind in ("sampling", "reversing"):
            shown = -(-(places * left // count) * count // left)  # the first place of each share
            return shown.flip(0) if self.kind == "reversing" else shown
        if self.kind == "freezing":
            fresh = torch.zeros(count, dtype=torch.bool)
            fresh[torch.randperm(count - 1, generator=generator)[: left - 1] + 1] = True
            return torch.where(fresh, places, 0).cummax(dim=0).values
        if self.kind == "jumbling":
            parts = places.split(max(2, round(SEGMENT[at] * count)))
            return torch.cat([part[torch.randperm(len(part), generator=generator)] for part in parts])
        boxes = places.tensor_split(min(BOXES[at], count))
        return torch.cat([boxes[i] for i in torch.randperm(len(boxes), generator=generator)])

"""A camera that is held askew or shakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from advvid.attacks.blur_corruption import moved
from advvid.attacks.corruption import Corruption, pixels

# By severity, those of Schiappa et al. 2022 (their public code).
TILT = (7.5, 15.0, 30.0, 45.0, 90.0)  # degrees
TURN = (7.0, 13.0, 19.0, 25.0, 31.0)  # largest turn of a frame either way, degrees
SHIFT = (4.0, 8.0, 12.0, 16.0, 20.0)  # largest shift of a frame either way, pixels at 224 x 224


@dataclass(frozen=True, kw_only=True)
class CameraCorruption(Corruption):
    """The camera's place and angle (Schiappa et al. 2022, camera motion).

    ``static_rotation``: all frames turned by the same angle. ``rotation``: each frame by an angle of its own, uniform
    within the limit. ``translation``: each frame shifted along both axes, uniform within the limit. What comes into view
    is black after a turn, and the nearest pixel after a shift.

    Args:
        kind: of movement.
        severity: see ``Corruption``.

    Example:
        >>> CameraCorruption(kind="static_rotation").threat.budget
        'corruption: camera held askew, severity 3 of 5'
    """

    kind: Literal["static_rotation", "rotation", "translation"] = "rotation"

    @property
    def words(self) -> str:
        """The kind of corruption in words."""
        return {"static_rotation": "camera held askew", "rotation": "camera that turns", "translation": "camera shake"}[
            self.kind
        ]

    def corrupt(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        """Return one moved clip."""
        frames, at = clip.transpose(0, 1), self.severity - 1
        count = len(frames)
        if self.kind == "translation":
            shift = pixels(clip, SHIFT[at]) * (2 * torch.rand(count, 2, generator=generator) - 1)
            return moved(frames, torch.eye(2), shift).transpose(0, 1)
        angle = torch.full((count,), TILT[at])
        if self.kind == "rotation":
            angle = TURN[at] * (2 * torch.rand(count, generator=generator) - 1)
        cosine, sine = angle.deg2rad().cos(), angle.deg2rad().sin()
        turn = torch.stack([cosine, -sine, sine, cosine], dim=1).view(count, 2, 2)
        return moved(frames, turn, torch.zeros(2), "zeros").transpose(0, 1)

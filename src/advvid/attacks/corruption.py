"""What nature, cameras and codecs do to a clip: the base of all corruptions."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import torch
from annotated_types import Ge, Le
from torch import Tensor

from advvid.attacks.base import Attack, AttackResult
from advvid.attacks.problem import Problem
from advvid.threats.any_clip import AnyClip

Severity = Annotated[int, Ge(1), Le(5)]


@dataclass(frozen=True, kw_only=True)
class Corruption(Attack):
    """A corruption of one of five severities (Hendrycks & Dietterich 2019; for video Schiappa et al. 2022).

    No search and no look at the model: a control, which enters neither mean nor union. A clip's random numbers come from
    its own generator, so that a corrupted clip depends on the seed, the column and the clip alone. Sizes in pixels are
    given for frames whose shorter side is 224 and scale with it.

    Each family of corruptions is a class with the setting ``kind``.

    Args:
        severity: 1 (weakest) to 5.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1]; returns clips of the same shape.
    """

    maximises: ClassVar[bool] = False
    control: ClassVar[bool] = True

    severity: Severity = 3

    @property
    @abstractmethod
    def words(self) -> str:
        """The kind of corruption in words."""

    @property
    def threat(self) -> AnyClip:
        """Any clip of valid pixels: nothing else bounds a corruption."""
        return AnyClip(f"{self.words}, severity {self.severity} of 5", self.space)

    @abstractmethod
    def corrupt(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        """Return one corrupted clip, ``[3, T, H, W]`` on the CPU; values outside [0, 1] are clamped afterwards."""

    def at(self, severity: int) -> Self:
        """Return the corruption at another severity."""
        return self.adjusted(severity=severity)

    def _search(self, problem: Problem) -> AttackResult:
        space, clips = self.space, problem.clips
        pairs = zip((clips.cpu() - space.low) / space.width, problem.generators, strict=True)
        with torch.no_grad():
            made = torch.stack([self.corrupt(clip, generator).clamp(0, 1) for clip, generator in pairs])
        return AttackResult.unsearched((space.low + space.width * made).to(clips.device, clips.dtype))


def pixels(clip: Tensor, at_224: float) -> float:
    """Return a length in pixels of a clip's frames that is ``at_224`` where their shorter side is 224."""
    return at_224 * min(clip.shape[-2:]) / 224

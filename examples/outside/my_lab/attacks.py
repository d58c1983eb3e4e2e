"""An attack of one's own: a frozen dataclass with a threat and a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack, AttackResult
from advvid.core.kinds import ShareNumber
from advvid.tasks.base import Task
from advvid.threats.balls import LinfBall


@dataclass(frozen=True, kw_only=True)
class Brightness(Attack):
    """Make the whole clip brighter or darker by eps, whichever the model likes less.

    Distance: l-inf.

    Args:
        eps: budget in [0, 1], a number or a fraction.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape.
    """

    eps: ShareNumber = "8/255"

    @property
    def threat(self) -> LinfBall:
        """The l-inf ball of radius eps, cut by the range of valid pixels."""
        return LinfBall(float(self.eps), self.space)

    def _search(
        self, model: nn.Module, clips: Tensor, labels: Tensor, generators: Sequence[torch.Generator],
        targets: Tensor | None, task: Task,
    ) -> AttackResult:  # fmt: skip
        tried = [clips, *(self.threat.project(clips + sign * float(self.eps), clips) for sign in (-1, 1))]
        with torch.no_grad():
            losses = torch.stack([task.loss(model(candidate), labels) for candidate in tried])
        worst = losses.argmax(dim=0)
        found = torch.stack(tried)[worst, torch.arange(len(clips), device=clips.device)]
        return AttackResult(found, torch.ones_like(labels), torch.zeros_like(labels))

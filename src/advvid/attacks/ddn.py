"""DDN: the smallest l2 change, by a search that decouples its direction from its length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from advvid.attacks.hyperplane import lengths, scaled
from advvid.attacks.logits import soft_margin
from advvid.attacks.problem import Goal
from advvid.attacks.shrinking import ShrinkingAttack, Step
from advvid.core.kinds import Positive


@dataclass(frozen=True, kw_only=True)
class DDN(ShrinkingAttack):
    """Decoupled direction and norm (Rony et al. 2019, algorithm 1).

    Each step turns the change along the gradient of the cross-entropy and sets its length: a part ``gamma`` shorter
    where the clip fools, longer where it does not. The gradient is that of the label's log-odds, whose direction is the
    cross-entropy's and which does not vanish where a model is sure. Values are not rounded to grey levels, as the
    paper's may be. Distance: l2 over the whole clip.

    Args:
        start: length of the first change, in the units of the l2 norm (the paper's epsilon_0).
            Other arguments: see ``ShrinkingAttack`` and ``MinimalNormAttack``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape.

    Example:
        >>> DDN().run(model, clips, labels).aux["norm"].mean()      # doctest: +SKIP
    """

    norm: Literal["l2"] = "l2"
    start: Positive = 1.0

    def _first_radius(self, clips: Tensor) -> Tensor:
        return torch.full((len(clips),), self.start, device=clips.device)

    def _objective(self, logits: Tensor, goal: Goal) -> Tensor:
        return soft_margin(logits, goal.labels, goal.targets)

    def _radius(self, now: dict[str, Tensor], step: Step) -> Tensor:
        return now["radius"] * torch.where(step.hit, 1 - self.gamma, 1 + self.gamma)

    def _project(self, change: Tensor, radius: Tensor) -> Tensor:
        return scaled(change, radius / lengths(change, "l2").clamp_min(1e-30))

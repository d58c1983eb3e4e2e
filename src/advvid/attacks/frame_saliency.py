"""Frame saliency: change as few frames as it takes, the most telling first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from advvid.attacks.base import AttackResult
from advvid.attacks.gradient import GradientAttack
from advvid.attacks.search import Goal, gradient_search, make_goal
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, NotNegativeNumber, Step
from advvid.tasks.base import Task
from advvid.threats.frames import Frames


@dataclass(frozen=True, kw_only=True)
class FrameSaliency(GradientAttack):
    """Frame saliency attack (Inkawhich et al. 2018; Kinfu & Vidal, sec. 2).

    A frame's saliency is the mean absolute gradient of the loss over its values. Each clip has its own order of frames
    and stops by itself when it is fooled. Distance: l-inf on the touched frames.

    Args:
        method: ``iterative``: one PGD over the whole clip, whose frames then replace the clean ones in the order of
            decreasing saliency at the clean clip. ``iterative_refresh``: before each frame the saliency is measured
            again on the clip as it stands, and PGD runs on the chosen frame alone, so that T frames cost T searches.
            ``one_shot``: the search over all frames, without saliency; the paper's words ask for one iteration, the
            code behind its table 4 ran 100 (``frame_saliency_one_shot_art``).
        eps: budget; table 4 of the paper averages .004, .008 and .015.

    Other arguments: see ``GradientAttack``. The iterative forms run their PGD for all ``steps``, also where
    an earlier iterate of the whole clip fools the model: a stronger frame means fewer frames.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``. ``aux["frames"]`` is ``bool [B, T]``, the frames that may
        differ from the clean clip; ``steps`` counts PGD iterations, over all frames for ``iterative_refresh``.

    Example:
        >>> FrameSaliency(eps="2/255").threat.budget
        'whole frames, l-inf 2/255'
    """

    eps: NotNegativeNumber = 0.015
    step_size: Step = 0.001
    steps: Count = 100
    random_start: bool = False
    method: Literal["iterative", "iterative_refresh", "one_shot"] = "iterative"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method != "one_shot" and self.restarts != 1:
            raise AdvvidError(f"restarts={self.restarts} has no meaning for method={self.method}: choose 1 or one_shot")

    @property
    def threat(self) -> Frames:
        """The l-inf ball around each frame."""
        return Frames(self.radius, self.space)

    def _search(
        self,
        model: nn.Module,
        clips: Tensor,
        labels: Tensor,
        generators: Sequence[torch.Generator],
        targets: Tensor | None,
        task: Task,
    ) -> AttackResult:
        if self.method == "one_shot":
            return super()._search(model, clips, labels, generators, targets, task)
        goal = make_goal(self.targeted, model, clips, labels, generators, targets, task)
        frames = torch.zeros(len(clips), clips.shape[2], dtype=torch.bool, device=clips.device)
        none = torch.zeros(len(clips), dtype=torch.int64, device=clips.device)
        result = AttackResult(clips.clone(), none, none.clone(), {"frames": frames})
        with torch.no_grad():
            left = (~goal.reached(model(clips))).nonzero().squeeze(1)
        if not len(left):
            return result
        copy_in = self._copy_in if self.method == "iterative" else self._refresh
        copy_in(model, clips, goal, generators, result, left)
        return result

    def _copy_in(
        self, model: nn.Module, clips: Tensor, goal: Goal, generators: Sequence[torch.Generator],
        result: AttackResult, left: Tensor,
    ) -> None:  # fmt: skip
        """Search once over whole clips, then copy frames into ``result`` until each clip is fooled."""
        everything = torch.ones_like(result.aux["frames"][left])
        full = self._pgd(model, clips[left], goal.select(left), [generators[i] for i in left.tolist()], everything)
        order = saliency(model, clips[left], goal.select(left)).argsort(dim=1, descending=True, stable=True)
        result.gradient_calls[left] = full.gradient_calls + 1
        result.steps[left] = full.steps
        source, x_adv = full.x_adv, clips[left]
        for nth in range(clips.shape[2]):
            frames = _one_hot(order[:, nth], clips.shape[2])
            x_adv = torch.where(frames[:, None, :, None, None], source, x_adv)
            left, keep = _record(model, goal, result, left, x_adv, frames)
            if not len(left):
                return
            source, x_adv, order = source[keep], x_adv[keep], order[keep]

    def _refresh(
        self, model: nn.Module, clips: Tensor, goal: Goal, generators: Sequence[torch.Generator],
        result: AttackResult, left: Tensor,
    ) -> None:  # fmt: skip
        """Choose and search one frame at a time, on the clips as they stand, until each is fooled."""
        for _ in range(clips.shape[2]):
            here = goal.select(left)
            score = saliency(model, result.x_adv[left], here)
            # A frame is searched once: it was brought to its budget already.
            frames = _one_hot(score.masked_fill(result.aux["frames"][left], -1).argmax(dim=1), clips.shape[2])
            own = [generators[i] for i in left.tolist()]
            found = self._pgd(model, clips[left], here, own, frames, so_far=result.x_adv[left])
            result.gradient_calls[left] += found.gradient_calls + 1
            result.steps[left] += found.steps
            left, _keep = _record(model, goal, result, left, found.x_adv, frames)
            if not len(left):
                return

    def _pgd(
        self, model: nn.Module, clips: Tensor, goal: Goal, generators: Sequence[torch.Generator], frames: Tensor,
        so_far: Tensor | None = None,
    ) -> AttackResult:  # fmt: skip
        """Search the given frames in the ball around their clean pixels; other frames stay as in ``so_far``."""
        threat, aux = self.threat, {"frames": frames}
        start = threat.random_start(clips, generators, aux) if self.random_start else clips
        fixed = clips if so_far is None else so_far
        # Frames of so_far stand on both sides, as clean clip and as start, so that projection leaves them alone; the
        # frame that is searched is still clean in both, so its ball is the one around the clean clip.
        mask = threat.mask(aux)
        return gradient_search(
            model, torch.where(mask, clips, fixed), torch.where(mask, start, fixed), goal, threat, aux,
            step_size=self.step, steps=self.steps, early_exit=self.early_exit and so_far is not None, keep=self.keep,
        )  # fmt: skip


def saliency(model: nn.Module, clips: Tensor, goal: Goal) -> Tensor:
    """Return the mean absolute gradient of the loss in each frame, ``[B, T]``."""
    x = clips.detach().requires_grad_()
    (grad,) = torch.autograd.grad(goal.loss(model(x)).sum(), x)
    return grad.abs().mean(dim=(1, 3, 4))


def _one_hot(index: Tensor, length: int) -> Tensor:
    return torch.arange(length, device=index.device) == index[:, None]


def _record(
    model: nn.Module, goal: Goal, result: AttackResult, left: Tensor, x_adv: Tensor, frames: Tensor
) -> tuple[Tensor, Tensor]:
    """Write the clips ``left`` down with one more frame touched; return who is still right, and where in ``left``."""
    result.x_adv[left] = x_adv
    result.aux["frames"][left] |= frames
    with torch.no_grad():
        keep = (~goal.select(left).reached(model(x_adv))).nonzero().squeeze(1)
    return left[keep], keep

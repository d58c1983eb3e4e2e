"""Frame saliency: change as few frames as it takes, the most telling first."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from advvid.attacks.base import AttackResult
from advvid.attacks.gradient import GradientAttack
from advvid.attacks.problem import Goal, Problem
from advvid.attacks.search import Ascent, gradient_search
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, NotNegativeNumber, Step
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

    def _search(self, problem: Problem) -> AttackResult:
        if self.method == "one_shot":
            return super()._search(problem)
        problem = problem.aimed(self.targeted)
        clips = problem.clips
        frames = torch.zeros(len(clips), clips.shape[2], dtype=torch.bool, device=clips.device)
        result = AttackResult.unsearched(clips.clone(), {"frames": frames})
        left = (~problem.fooled(clips)).nonzero().squeeze(1)
        if len(left):
            copy_in = self._copy_in if self.method == "iterative" else self._refresh
            copy_in(problem, result, left)
        return result

    def _copy_in(self, problem: Problem, result: AttackResult, left: Tensor) -> None:
        """Search once over whole clips, then copy frames into ``result`` until each clip is fooled."""
        rest, length = problem.select(left), problem.clips.shape[2]
        full = self._pgd(rest, torch.ones_like(result.aux["frames"][left]))
        order = saliency(rest.model, rest.clips, rest.goal).argsort(dim=1, descending=True, stable=True)
        result.gradient_calls[left] = full.gradient_calls + 1
        result.steps[left] = full.steps
        source, x_adv = full.x_adv, rest.clips
        for nth in range(length):
            frames = _one_hot(order[:, nth], length)
            x_adv = torch.where(frames[:, None, :, None, None], source, x_adv)
            left, keep = _record(problem, result, left, x_adv, frames)
            if not len(left):
                return
            source, x_adv, order = source[keep], x_adv[keep], order[keep]

    def _refresh(self, problem: Problem, result: AttackResult, left: Tensor) -> None:
        """Choose and search one frame at a time, on the clips as they stand, until each is fooled."""
        length = problem.clips.shape[2]
        for _ in range(length):
            rest = problem.select(left)
            score = saliency(rest.model, result.x_adv[left], rest.goal)
            # A frame is searched once: it was brought to its budget already.
            frames = _one_hot(score.masked_fill(result.aux["frames"][left], -1).argmax(dim=1), length)
            found = self._pgd(rest, frames, so_far=result.x_adv[left])
            result.gradient_calls[left] += found.gradient_calls + 1
            result.steps[left] += found.steps
            left, _keep = _record(problem, result, left, found.x_adv, frames)
            if not len(left):
                return

    def _pgd(self, problem: Problem, frames: Tensor, so_far: Tensor | None = None) -> AttackResult:
        """Search the given frames in the ball around their clean pixels; other frames stay as in ``so_far``."""
        threat, clips, aux = self.threat, problem.clips, {"frames": frames}
        start = self._start(problem, aux)
        fixed = clips if so_far is None else so_far
        # Frames of so_far stand on both sides, as clean clip and as start, so that projection leaves them alone; the
        # frame that is searched is still clean in both, so its ball is the one around the clean clip.
        mask = threat.mask(aux)
        around = dataclasses.replace(problem, clips=torch.where(mask, clips, fixed))
        leave = self.early_exit and so_far is not None
        ascent = Ascent(step_size=self.step, steps=self.steps, early_exit=leave, keep=self.keep)
        return gradient_search(around, torch.where(mask, start, fixed), threat, aux, ascent)


def saliency(model: nn.Module, clips: Tensor, goal: Goal) -> Tensor:
    """Return the mean absolute gradient of the loss in each frame, ``[B, T]``."""
    x = clips.detach().requires_grad_()
    (grad,) = torch.autograd.grad(goal.loss(model(x)).sum(), x)
    return grad.abs().mean(dim=(1, 3, 4))


def _one_hot(index: Tensor, length: int) -> Tensor:
    return torch.arange(length, device=index.device) == index[:, None]


def _record(
    problem: Problem, result: AttackResult, left: Tensor, x_adv: Tensor, frames: Tensor
) -> tuple[Tensor, Tensor]:
    """Write the clips ``left`` down with one more frame touched; return who is still right, and where in ``left``."""
    result.x_adv[left] = x_adv
    result.aux["frames"][left] |= frames
    keep = (~problem.select(left).fooled(x_adv)).nonzero().squeeze(1)
    return left[keep], keep

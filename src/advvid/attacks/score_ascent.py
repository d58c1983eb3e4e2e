"""What attacks share that climb by signed steps along a direction estimated from the model's scores."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from advvid.attacks.base import AttackResult
from advvid.attacks.problem import Goal, Problem
from advvid.attacks.proposals import LOOK_EVERY
from advvid.attacks.score_attack import ScoreAttack
from advvid.attacks.search import looks_now
from advvid.attacks.stepped import SteppedAttack
from advvid.threats.balls import LinfBall
from advvid.threats.base import per_clip


@dataclass(frozen=True, kw_only=True)
class ScoreAscent(SteppedAttack, ScoreAttack):
    """Signed steps in an l-inf ball along what a subclass learns of the margin's slope, from queries alone.

    Arguments: see ``SteppedAttack`` and ``ScoreAttack``.
    """

    queries: Annotated[int, Ge(4)] = 5000

    @property
    def threat(self) -> LinfBall:
        """The l-inf ball of radius eps, cut by the range of valid pixels."""
        return LinfBall(self.radius, self.space)

    @property
    def pairs(self) -> int:
        """Pairs of queries behind each step."""
        return 1

    @abstractmethod
    def _slope(self, problem: Problem, now: dict[str, Tensor]) -> Tensor:
        """Ask ``pairs`` times twice and return the direction in which the margin falls, like ``now["memory"]``.

        Args:
            problem: the clips that are still searched.
            now: their state: ``x``, the iterates; ``memory``, what was returned last, zero at first; and what ``_known`` gave.
        """

    def _known(self, clips: Tensor) -> dict[str, Tensor]:
        """Return what the search needs to know of clips ``[B, 3, T, H, W]``: tensors with a row for each."""
        return {}

    @torch.no_grad()
    def _search(self, problem: Problem) -> AttackResult:
        problem = problem.aimed(self.targeted)
        clips, size = problem.clips, len(problem)
        asks = 2 * self.pairs + 1
        rounds = (self.queries - 1) // asks
        out = problem.model(clips)
        goal = problem.goal
        taken = torch.full((size,), rounds, device=clips.device)
        result, first = clips.clone(), goal.loss(out)
        now = {
            "row": torch.arange(size, device=clips.device),
            "x": clips,
            "clean": clips,
            "memory": torch.zeros_like(clips),
            "best": clips,
            "value": goal.ahead(out),
            "loss": first,
            "first": first,
            "fooled": goal.reached(out),
            **self._known(clips),
        }
        taken = torch.where(now["fooled"], 0, taken) if self.early_exit else taken
        rest = problem
        for number in range(rounds + 1):
            looks = number == rounds or looks_now(number, clips.device, max(1, LOOK_EVERY // asks))
            left = (~now["fooled"]).nonzero().squeeze(1) if self.early_exit and looks else now["row"]
            if len(left) < len(rest):
                result[now["row"]] = now["best"]
                now, rest = {name: value[left] for name, value in now.items()}, rest.select(left)
            if number == rounds or len(rest) == 0:
                break
            now["memory"] = self._slope(rest, now)
            ahead = self.threat.ascend(now["x"], now["memory"], self.step)
            now["x"] = self.threat.project(ahead, now["clean"])
            hit = _keep(now, rest.goal, rest.model(now["x"]), self.early_exit)
            if self.early_exit:
                taken[now["row"]] = torch.where(hit, number + 1, taken[now["row"]])
        # What neither fools nor raises the loss is not worth a change.
        worse = ~now["fooled"] & (now["loss"] < now["first"])
        result[now["row"]] = torch.where(per_clip(worse, now["best"]), now["clean"], now["best"])
        return AttackResult(result, taken, torch.zeros_like(taken), {"queries": 1 + taken * asks})


def _keep(now: dict[str, Tensor], goal: Goal, out: Tensor, early_exit: bool) -> Tensor:
    """Take over new iterates of a smaller margin, one that fools before one that does not; tell which of these fool."""
    value, hit = goal.ahead(out), goal.reached(out)
    better = (hit & ~now["fooled"]) | ((hit == now["fooled"]) & (value < now["value"]))
    better = better & ~now["fooled"] if early_exit else better
    now["best"] = torch.where(per_clip(better, now["x"]), now["x"], now["best"])
    now["value"] = torch.where(better, value, now["value"])
    now["loss"] = torch.where(better, goal.loss(out), now["loss"])
    now["fooled"] = now["fooled"] | (better & hit)
    return better & hit

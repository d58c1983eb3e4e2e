"""What searches share that propose one clip after the other and keep what lowers the margin."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from advvid.attacks.base import AttackResult
from advvid.attacks.problem import Problem
from advvid.attacks.score_attack import ScoreAttack
from advvid.attacks.search import looks_now
from advvid.threats.base import per_clip

# Queries on a GPU after which it looks who has left: fewer waits than a search by gradients, whose steps are dearer.
LOOK_EVERY = 50
# The state of a search: tensors with a row for each clip that is still searched.
State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class ProposalSearch(ScoreAttack):
    """A search by scores that asks about one proposal at a time, and goes on from the best so far.

    Arguments: see ``ScoreAttack``.
    """

    # Parts of the state that say how the kept clip was made, beside the clip itself; the result's ``aux``.
    kept: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def _begin(self, problem: Problem) -> State:
        """Draw all that the search needs, so that a clip's numbers depend on nothing else; ``kept`` says the clean clip."""

    @abstractmethod
    def _propose(self, now: State, query: int) -> State:
        """Return the next clips as ``x``, and how they were made under the names of ``kept``."""

    def _better(self, now: State, hit: Tensor, value: Tensor, query: int) -> Tensor:
        """Tell which proposals, of these margins, are better than the clips they were made of, ``bool [R]``."""
        return (value < now["value"]) | (hit & ~now["fooled"])

    def _judged(self, now: State, better: Tensor) -> None:
        """Note which proposals were kept, ``bool [R]``."""

    @torch.no_grad()
    def _search(self, problem: Problem) -> AttackResult:
        problem = problem.aimed(self.targeted)
        clips, model, goal = problem.clips, problem.model, problem.goal
        out, asked = model(clips), torch.full((len(clips),), self.queries, device=clips.device)
        own = self._begin(problem)
        ended = {"x": clips.clone(), **{name: own[name].clone() for name in self.kept}}
        now = {
            "row": torch.arange(len(clips), device=clips.device),
            "x": clips,
            "clean": clips,
            "value": goal.ahead(out),
            "loss": goal.loss(out),
            "first": goal.loss(out),
            "fooled": goal.reached(out),
            **own,
        }
        nothing = {name: value.clone() for name, value in ended.items()}
        if self.early_exit:
            asked = torch.where(now["fooled"], 1, asked)
        for query in range(1, self.queries + 1):
            if self.early_exit and (query == self.queries or looks_now(query, clips.device, LOOK_EVERY)):
                left = (~now["fooled"]).nonzero().squeeze(1)
                if len(left) < len(now["row"]):
                    _end(ended, now)
                    now, goal = {name: value[left] for name, value in now.items()}, goal.select(left)
            if len(now["row"]) == 0 or query == self.queries:
                break
            proposal = self._propose(now, query)
            out = model(proposal["x"])
            hit, value = goal.reached(out), goal.ahead(out)
            better = self._better(now, hit, value, query)
            better = better & ~now["fooled"] if self.early_exit else better & (hit | ~now["fooled"])
            if self.early_exit:
                asked[now["row"]] = torch.where(better & hit, query + 1, asked[now["row"]])
            for name, new in proposal.items():
                now[name] = torch.where(per_clip(better, new), new, now[name])
            now["value"] = torch.where(better, value, now["value"])
            now["loss"] = torch.where(better, goal.loss(out), now["loss"])
            now["fooled"] = now["fooled"] | (better & hit)
            self._judged(now, better)
        # What neither fools nor raises the loss is not worth a change.
        worse = ~now["fooled"] & (now["loss"] < now["first"])
        for name in ended:
            now[name] = torch.where(per_clip(worse, now[name]), nothing[name][now["row"]], now[name])
        _end(ended, now)
        x_adv = ended.pop("x")
        return AttackResult(x_adv, asked - 1, torch.zeros_like(asked), {"queries": asked, **ended})


def _end(ended: State, now: State) -> None:
    for name, value in ended.items():
        value[now["row"]] = now[name]

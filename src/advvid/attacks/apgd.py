"""Auto-PGD: projected gradient ascent that chooses its own step sizes, clip by clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from advvid.attacks.base import Attack, AttackResult
from advvid.attacks.cascade import Round, cascade
from advvid.attacks.expectation import draw_seeds, expected_loss
from advvid.attacks.logits import dlr, likely_classes, require_logits, targeted_dlr
from advvid.attacks.problem import Goal, Problem
from advvid.attacks.search import looks_now
from advvid.core.batch import derive_seed
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, NotNegativeNumber, Whole
from advvid.threats.balls import L2Ball, LinfBall, ball
from advvid.threats.base import Threat, per_clip

# The constants of Croce & Hein 2020, sec. 3: momentum, the share of successful steps below which a step size is
# halved, and the rule of the checkpoints.
MOMENTUM, SUCCESS_SHARE = 0.75, 0.75
FIRST_PERIOD, PERIOD_DECREASE, SHORTEST_PERIOD = 0.22, 0.03, 0.06


@dataclass(frozen=True)
class Objective:
    """What APGD raises: the task's loss or DLR, away from the label or towards a class.

    Args:
        kind: ``ce`` (the task's loss) or ``dlr``.
        goal: what counts as fooled.
        aims: a class per clip that the search heads for, while any wrong answer counts; ``[B]``.
    """

    kind: Literal["ce", "dlr"]
    goal: Goal
    aims: Tensor | None = None

    def loss(self, out: Tensor) -> Tensor:
        """Return the objective of each clip, ``[B]``."""
        if self.kind == "ce":
            return self.goal.loss(out) if self.aims is None else -self.goal.task.loss(out, self.aims)
        aims = self.goal.targets if self.aims is None else self.aims
        logits = require_logits(out, self.goal.labels, "APGD with loss=dlr")
        least = 3 if aims is None else 4
        if logits.shape[1] < least:
            raise AdvvidError(
                f"the {'' if aims is None else 'targeted '}DLR loss needs {least} classes, the model has "
                f"{logits.shape[1]}: choose loss=ce"
            )
        if aims is None:
            return dlr(logits, self.goal.labels)
        return targeted_dlr(logits, self.goal.labels, aims)

    def select(self, index: Tensor) -> Objective:
        """Return the objective of some of the clips."""
        return Objective(self.kind, self.goal.select(index), None if self.aims is None else self.aims[index])


def checkpoints(steps: int) -> list[int]:
    """Return the iterations at which the step size may be halved (Croce & Hein 2020, sec. 3).

    Example:
        >>> checkpoints(100)[:4]
        [22, 41, 57, 70]
    """
    shares = [0.0, FIRST_PERIOD]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - PERIOD_DECREASE, SHORTEST_PERIOD))
    # The small subtrahend keeps rounding from moving a whole number up.
    return sorted({math.ceil(share * steps - 1e-9) for share in shares[1:] if share < 1} - {0})


@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """Auto-PGD (Croce & Hein 2020, "Reliable evaluation of adversarial robustness", algorithm 1).

    Steps start at twice the budget and are halved, clip by clip, where progress stalls; a halved clip goes on from
    its best iterate. Distance: l-inf or l2 over the whole clip.

    Args:
        eps: budget, a number or a fraction such as ``"8/255"``.
        norm: ``linf`` or ``l2``.
        steps: iterations of each search.
        restarts: searches from different random starts.
        loss: ``ce`` (the task's loss) or ``dlr`` (difference of logits ratio).
        targets: 0 for one search away from the label; n for n searches, each towards one of the n most likely
            wrong classes (with ``loss="dlr"`` this is APGD-T). ``run(targets=...)`` asks for a given class instead.
        eot: draws of a random model averaged into each gradient; 1 for deterministic models.
        early_exit: fooled clips leave the batch (same verdicts, less work).

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``gradient_calls``
        counts every draw.

    Example:
        >>> APGD(eps="8/255", loss="dlr", targets=9).threat.budget
        'l-inf 8/255'
    """

    any_shape: ClassVar[bool] = True

    eps: NotNegativeNumber = "8/255"
    norm: Literal["linf", "l2"] = "linf"
    steps: Count = 100
    restarts: Count = 1
    loss: Literal["ce", "dlr"] = "ce"
    targets: Whole = 0
    eot: Count = 1
    early_exit: bool = True

    @property
    def threat(self) -> LinfBall | L2Ball:
        """The norm ball of radius eps, cut by the range of valid pixels."""
        return ball(self.norm, float(self.eps), self.space)

    def _search(self, problem: Problem) -> AttackResult:
        aims: list[Tensor | None] = [None]
        if self.targets and problem.targets is None:
            with torch.no_grad():
                logits = require_logits(problem.model(problem.clips), problem.labels, "APGD with targets")
            aims = list(likely_classes(logits, problem.labels, self.targets).unbind(dim=1))

        def towards(aim: Tensor | None) -> Round:
            def search(rest: Problem, left: Tensor) -> AttackResult:
                return self._climb(rest, Objective(self.loss, rest.goal, None if aim is None else aim[left]))

            return search

        rounds = [towards(aim) for _ in range(self.restarts) for aim in aims]
        return cascade(problem, rounds, self.early_exit)[0]

    def _climb(self, problem: Problem, objective: Objective) -> AttackResult:
        """Raise the objective from one random start (Croce & Hein 2020, algorithm 1).

        A fooled clip leaves with its first fooling iterate under ``early_exit``. Else it returns the fooling iterate of the
        highest objective; a clip that none fooled, the iterate of the highest one.
        """
        clips, size, steps = problem.clips, len(problem), self.steps
        start = self.threat.random_start(clips, problem.generators)
        seeds = draw_seeds(problem.generators).tolist()
        result, taken = start.clone(), torch.full((size,), steps, device=clips.device)
        calls = torch.zeros_like(taken)
        marks, last_mark = set(checkpoints(steps)), 0
        low = torch.full((size,), -torch.inf, device=clips.device)
        # Everything that belongs to a clip; rows leave together.
        now: dict[str, Tensor] = {
            "id": torch.arange(size, device=clips.device),
            "clean": clips,
            "x": start,
            "before": start,
            "best": start,
            "best_grad": torch.zeros_like(start),
            "best_loss": low,
            "best_step": torch.zeros_like(taken),
            "fool": start,
            "fool_loss": low,
            "fool_step": taken.clone(),
            "last_loss": low,
            "gains": torch.zeros_like(taken),
            "marked_loss": low,
            "eta": torch.full((size,), 2 * float(self.eps), device=clips.device),
            "halved": torch.ones(size, dtype=torch.bool, device=clips.device),
            "gone": torch.zeros(size, dtype=torch.bool, device=clips.device),
        }
        for step in range(steps + 1):
            last = step == steps
            own = [derive_seed(seeds[i], step) for i in now["id"].tolist()] if self.eot > 1 else ()
            out, loss, grad = expected_loss(
                problem.model, now["x"], objective.loss, seeds=own, samples=self.eot, gradient=not last
            )
            hit = objective.goal.reached(out)
            left = now["id"]
            if self.early_exit:
                fresh, now["gone"] = hit & ~now["gone"], now["gone"] | hit
                # Draws of a random model depend on who is first.
                looks = last or self.eot > 1 or looks_now(step, clips.device)
                left = (~now["gone"]).nonzero().squeeze(1) if looks else left
                if len(left) < len(hit) or not looks:
                    result[now["id"]] = torch.where(per_clip(fresh, clips), now["x"], result[now["id"]])
                    taken[now["id"]] = torch.where(fresh, step, taken[now["id"]])
            # A clip that leaves now needs no gradient, whatever its neighbours do.
            calls[now["id"]] += (~now["gone"]).long() * (0 if last else self.eot)
            _remember(now, loss, grad, hit, step)
            if len(left) == 0:
                return AttackResult(result, taken, calls)
            if len(left) < len(hit):
                now = {name: value[left] for name, value in now.items()}
                objective, grad = objective.select(left), grad[left]
            if last:
                break
            if step in marks:
                grad = _adapt(now, grad, step - last_mark)
                last_mark = step
            _advance(now, grad, self.threat, momentum=MOMENTUM if step else 1.0)
        fooled = now["fool_loss"] > -torch.inf
        result[now["id"]] = torch.where(per_clip(fooled, clips), now["fool"], now["best"])
        taken[now["id"]] = torch.where(fooled, now["fool_step"], now["best_step"])
        return AttackResult(result, taken, calls)


def _remember(now: dict[str, Tensor], loss: Tensor, grad: Tensor, hit: Tensor, step: int) -> None:
    """Keep the best iterate with its gradient, the best fooling one, and count successful steps."""
    x = now["x"]
    up = loss > now["best_loss"]
    now["best"] = torch.where(per_clip(up, x), x, now["best"])
    now["best_grad"] = torch.where(per_clip(up, x), grad, now["best_grad"])
    now["best_loss"] = torch.where(up, loss, now["best_loss"])
    now["best_step"] = torch.where(up, step, now["best_step"])
    worse = hit & (loss > now["fool_loss"])
    now["fool"] = torch.where(per_clip(worse, x), x, now["fool"])
    now["fool_loss"] = torch.where(worse, loss, now["fool_loss"])
    now["fool_step"] = torch.where(worse, step, now["fool_step"])
    now["gains"] = now["gains"] + (loss > now["last_loss"]) * (step > 0)
    now["last_loss"] = loss


def _adapt(now: dict[str, Tensor], grad: Tensor, period: int) -> Tensor:
    """At a checkpoint, halve the step of clips that stall and take them back to their best iterate."""
    few = now["gains"] < SUCCESS_SHARE * period
    idle = ~now["halved"] & (now["best_loss"] <= now["marked_loss"])
    halve = few | idle
    now["eta"] = torch.where(halve, now["eta"] / 2, now["eta"])
    now["x"] = torch.where(per_clip(halve, grad), now["best"], now["x"])
    now["halved"], now["marked_loss"] = halve, now["best_loss"]
    now["gains"] = torch.zeros_like(now["gains"])
    return torch.where(per_clip(halve, grad), now["best_grad"], grad)


def _advance(now: dict[str, Tensor], grad: Tensor, threat: Threat, momentum: float) -> None:
    """Take one projected step with momentum."""
    x, clean = now["x"], now["clean"]
    direction = threat.ascend(torch.zeros_like(x), grad, 1.0)
    ahead = threat.project(x + per_clip(now["eta"], x) * direction, clean)
    mixed = x + momentum * (ahead - x) + (1 - momentum) * (x - now["before"])
    now["before"], now["x"] = x, threat.project(mixed, clean)

"""NES: gradient ascent on gradients that are estimated from scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor

from advvid.attacks.base import Attack, AttackResult, resolve_step
from advvid.attacks.hyperplane import scaled
from advvid.attacks.problem import Goal, Problem, Targeted
from advvid.core.kinds import NotNegativeNumber, PositiveNumber, Step
from advvid.threats.balls import LinfBall
from advvid.threats.base import draw, per_clip


@dataclass(frozen=True, kw_only=True)
class NES(Attack):
    """Natural evolution strategies (Ilyas et al. 2018, algorithm 1), from the model's scores alone.

    Each step estimates the gradient of the label's margin from pairs of noise, ``x + sigma u`` and ``x - sigma u``, and
    goes a signed step along the estimate, which remembers earlier ones. Distance: l-inf.

    Args:
        eps: budget, a number or a fraction such as ``"8/255"``.
        queries: times that the model may be asked about each clip, the clean one included.
        samples: queries behind each estimate, two for each noise; fewer where the limit leaves room for no step else.
        sigma: size of the noise, in [0, 1] of the values (the paper: 0.001, at which float32 scores are half rounding).
        step_size: a number, a fraction, ``optimal``, ``optimal/2`` or ``eps``.
        momentum: weight of the remembered estimate (the paper's code: 0.9).
        targeted: None, ``least_likely``, ``random`` or a class number; ``run(targets=...)`` gives targets instead.
        early_exit: fooled clips leave the batch; without, their margin is lowered further.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``aux["queries"]`` is
        int ``[B]``; ``gradient_calls`` is 0.

    Example:
        >>> NES(queries=1000).notes(5)[0]
        'NES sees scores and asks at most 1000 times about each clip.'
    """

    access: ClassVar[str] = "black_box"

    eps: NotNegativeNumber = "8/255"
    queries: Annotated[int, Ge(4)] = 5000
    samples: Annotated[int, Ge(2)] = 50
    sigma: PositiveNumber = 0.01
    step_size: Step = "optimal"
    momentum: Annotated[float, Ge(0), Le(1)] = 0.9
    targeted: Targeted = None
    early_exit: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.step  # refuses an unknown rule

    @property
    def step(self) -> float:
        """The step size as a number, after its rule."""
        return resolve_step(self.step_size, float(self.eps))

    @property
    def threat(self) -> LinfBall:
        """The l-inf ball of radius eps, cut by the range of valid pixels."""
        return LinfBall(float(self.eps), self.space)

    def notes(self, classes: int) -> tuple[str, ...]:
        """Return what the attack sees of the model, and how often."""
        return (f"{type(self).__name__} sees scores and asks at most {self.queries} times about each clip.",)

    def _search(self, problem: Problem) -> AttackResult:
        problem = problem.aimed(self.targeted)
        with torch.no_grad():
            return self._climb(problem)

    def _climb(self, problem: Problem) -> AttackResult:
        clips, size = problem.clips, len(problem)
        pairs = min(self.samples, self.queries - 2) // 2
        rounds = (self.queries - 1) // (2 * pairs + 1)
        out = problem.model(clips)
        goal, active = problem.goal, torch.arange(size, device=clips.device)
        taken = torch.full((size,), rounds, device=clips.device)
        result, first = clips.clone(), goal.loss(out)
        now = {
            "row": active,
            "x": clips,
            "clean": clips,
            "memory": torch.zeros_like(clips),
            "best": clips,
            "value": goal.ahead(out),
            "loss": first,
            "first": first,
            "fooled": goal.reached(out),
        }
        rest = problem
        for number in range(rounds + 1):
            # One check a round, as each of them asks many times.
            if self.early_exit and bool(now["fooled"].any()):
                done = now["row"][now["fooled"]]
                result[done], taken[done] = now["best"][now["fooled"]], number
                left = (~now["fooled"]).nonzero().squeeze(1)
                now, rest = {name: value[left] for name, value in now.items()}, rest.select(left)
            if number == rounds or len(rest) == 0:
                break
            estimate = self._estimate(rest, now["x"], pairs)
            now["memory"] = self.momentum * now["memory"] + (1 - self.momentum) * estimate
            ahead = self.threat.ascend(now["x"], now["memory"], self.step)
            now["x"] = self.threat.project(ahead, now["clean"])
            _keep(now, rest.goal, rest.model(now["x"]))
        # As in Square, what neither fools nor raises the loss is not worth a change.
        worse = ~now["fooled"] & (now["loss"] < now["first"])
        result[now["row"]] = torch.where(per_clip(worse, now["best"]), now["clean"], now["best"])
        asked = 1 + taken * (2 * pairs + 1)
        return AttackResult(result, taken, torch.zeros_like(taken), {"queries": asked})

    def _estimate(self, problem: Problem, x: Tensor, pairs: int) -> Tensor:
        """Return the estimated direction in which the margin falls, like ``x``."""

        def noise() -> tuple[Tensor, Tensor]:
            drawn = draw("randn", x.shape[1:], problem.generators, x)
            return drawn, drawn

        return antithetic(problem, x, noise, pairs, float(self.sigma))


def antithetic(
    problem: Problem, x: Tensor, noise: Callable[[], tuple[Tensor, Tensor]], pairs: int, sigma: float
) -> Tensor:
    """Return the sum of random numbers, each times how much the margin falls along what it stands for (eq. 2.1).

    Args:
        problem: the clips, the model and the goal.
        x: where, ``[B, 3, T, H, W]``.
        noise: draws random numbers ``[B, ...]`` and the change of the clip that they stand for, like ``x``.
        pairs: of queries.
        sigma: length of the changes.
    """
    total: Tensor | None = None
    goal: Goal = problem.goal
    for _ in range(pairs):
        numbers, change = noise()
        ahead = [goal.ahead(problem.model(x + sign * sigma * change)) for sign in (-1, 1)]
        gain = scaled(numbers, ahead[0] - ahead[1])
        total = gain if total is None else total + gain
    assert total is not None
    return total


def _keep(now: dict[str, Tensor], goal: Goal, out: Tensor) -> None:
    """Take over new iterates of a smaller margin; one that fools beats one that does not."""
    value, hit = goal.ahead(out), goal.reached(out)
    better = (hit & ~now["fooled"]) | ((hit == now["fooled"]) & (value < now["value"]))
    now["best"] = torch.where(per_clip(better, now["x"]), now["x"], now["best"])
    now["value"] = torch.where(better, value, now["value"])
    now["loss"] = torch.where(better, goal.loss(out), now["loss"])
    now["fooled"] = now["fooled"] | (better & hit)

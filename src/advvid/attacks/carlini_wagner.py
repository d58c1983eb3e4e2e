"""The Carlini-Wagner attack in l2."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advvid.attacks.base import AttackResult
from advvid.attacks.logits import margin, require_logits
from advvid.attacks.minimal import MinimalNormAttack
from advvid.attacks.problem import Problem
from advvid.attacks.search import looks_now
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, NotNegative, NotNegativeNumber, Positive
from advvid.threats.base import per_clip

# Keeps atanh finite at pixels of exactly 0 and 1, and their gradient above Adam's epsilon.
INSIDE = 1 - 1e-4
# The constant grows tenfold until the first success; beyond the largest there is none.
GROWTH, LARGEST = 10.0, 1e10
# A search whose best objective has not fallen by this factor over a tenth of its steps has stalled; shorter periods
# than these steps are within Adam's swings.
STALL, SHORTEST_PERIOD = 0.9999, 20
DECAY, SQUARE_DECAY, ADAM_EPS = 0.9, 0.999, 1e-8


@dataclass(frozen=True, kw_only=True)
class CarliniWagner(MinimalNormAttack):
    """C&W l2 (Carlini & Wagner 2017, sec. VI-A): distance plus a constant times the margin, minimised by Adam.

    The search runs over the atanh of the pixels, so that the range is kept without clamping; the constant is found by
    bisection, clip by clip.

    Args:
        searches: values of the constant that are tried (the paper: 9).
        steps: Adam's iterations for each (the paper's code: 1000).
        step_size: Adam's learning rate.
        constant: the first value tried (the paper's code: 1e-3, which needs all 9 searches).
        confidence: margin by which the wrong class must win (the paper's kappa).
        early_exit: with a budget, a clip that fools within it leaves, although a smaller change might be found.
            Other arguments: see ``MinimalNormAttack``; ``norm`` is ``l2``.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape.
    """

    searches: Count = 6
    steps: Count = 100
    step_size: NotNegativeNumber = 0.01
    constant: Positive = 0.1
    confidence: NotNegative = 0.0
    early_exit: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm != "l2":
            raise AdvvidError(
                f"norm={self.norm!r} is not possible for CarliniWagner: choose l2, or attack=fab for l-inf"
            )

    def _search(self, problem: Problem) -> AttackResult:
        problem = problem.aimed(self.targeted)
        clips, goal = problem.clips, problem.goal
        with torch.no_grad():
            wrong = goal.reached(require_logits(problem.model(clips), goal.labels, "CarliniWagner", several=True))
        zero = torch.zeros(len(clips), device=clips.device)
        state = {
            "best": clips.clone(),
            "far": torch.where(wrong, 0.0, torch.inf),
            "last": clips.clone(),
            "steps": zero.long(),
            "calls": zero.long(),
            "low": zero.clone(),
            "high": torch.full_like(zero, LARGEST),
            "constant": torch.full_like(zero, self.constant),
        }
        enough = self.radius if self.early_exit and self.eps is not None else 0.0
        for number in range(self.searches):
            rows = (state["far"] > enough).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            success = self._minimise(problem.select(rows), state, rows, number * self.steps, enough)
            _bisect(state, rows, success)
        missed = state["far"].isinf()
        found = torch.where(per_clip(missed, clips), state["last"], state["best"])
        steps = torch.where(missed, self.searches * self.steps, state["steps"])
        return self._judge(problem, found, steps, state["calls"])

    def _minimise(self, problem: Problem, state: dict[str, Tensor], rows: Tensor, offset: int, enough: float) -> Tensor:
        """Minimise with each clip's present constant; record improvements and return which clips were fooled."""
        clips, goal = problem.clips, problem.goal
        start = torch.atanh(INSIDE * (2 * (clips - self.space.low) / self.space.width - 1))
        now: dict[str, Tensor] = {
            "row": torch.arange(len(rows), device=clips.device),
            "w": start,
            "origin": self._pixels(start),
            "clean": clips,
            "first": torch.zeros_like(clips),
            "second": torch.zeros_like(clips),
            "lowest": torch.full((len(rows),), torch.inf, device=clips.device),
            "constant": state["constant"][rows],
            "marked": torch.full((len(rows),), torch.inf, device=clips.device),
            # Has left, and is not taken out yet.
            "gone": torch.zeros(len(rows), dtype=torch.bool, device=clips.device),
        }
        success = torch.zeros(len(rows), dtype=torch.bool, device=clips.device)
        period = max(self.steps // 10, SHORTEST_PERIOD)
        for step in range(self.steps + 1):
            w = now["w"].detach().requires_grad_()
            x = self._pixels(w)
            logits = require_logits(problem.model(x), goal.labels, "CarliniWagner", several=True)
            ahead = margin(logits, goal.labels, goal.targets)
            objective = (x - now["origin"]).square().flatten(1).sum(dim=1)
            objective = objective + now["constant"] * (ahead + self.confidence).clamp_min(0)
            hit = goal.reached(logits) & (ahead <= -self.confidence) & ~now["gone"]
            global_rows = rows[now["row"]]
            success[now["row"]] |= hit
            _record(state, global_rows, x.detach(), now, hit, offset + step)
            if step == self.steps:
                break
            now["gone"] |= state["far"][global_rows] <= enough
            now["lowest"] = torch.minimum(now["lowest"], objective.detach())
            if step % period == 0:
                now["gone"] |= now["lowest"] > STALL * now["marked"]
                now["marked"] = now["lowest"]
            left = (~now["gone"]).nonzero().squeeze(1) if looks_now(step, clips.device) else now["row"]
            if len(left) == 0:
                break
            state["calls"][global_rows] += (~now["gone"]).long()
            (grad,) = torch.autograd.grad(objective.sum(), w)
            _adam(now, grad, step + 1, float(self.step_size))
            if len(left) < len(now["row"]):
                now, goal = {name: value[left] for name, value in now.items()}, goal.select(left)
        return success

    def _pixels(self, w: Tensor) -> Tensor:
        """Map any real number into the range of valid pixels."""
        return self.space.low + self.space.width * (torch.tanh(w) + 1) / 2


def _record(state: dict[str, Tensor], rows: Tensor, x: Tensor, now: dict[str, Tensor], hit: Tensor, step: int) -> None:
    """Keep fooling clips that are nearer than those before, and the last iterate of every clip that has not left."""
    far = (x - now["clean"]).flatten(1).norm(dim=1)
    better = hit & (far < state["far"][rows])
    state["best"][rows] = torch.where(per_clip(better, x), x, state["best"][rows])
    state["far"][rows] = torch.where(better, far, state["far"][rows])
    state["steps"][rows] = torch.where(better, step, state["steps"][rows])
    state["last"][rows] = torch.where(per_clip(now["gone"], x), state["last"][rows], x)


def _adam(now: dict[str, Tensor], grad: Tensor, step: int, rate: float) -> None:
    """Take one step of Adam (Kingma & Ba 2015); every clip has moments of its own."""
    now["first"] = DECAY * now["first"] + (1 - DECAY) * grad
    now["second"] = SQUARE_DECAY * now["second"] + (1 - SQUARE_DECAY) * grad.square()
    mean, spread = now["first"] / (1 - DECAY**step), now["second"] / (1 - SQUARE_DECAY**step)
    now["w"] = now["w"].detach() - rate * mean / (spread.sqrt() + ADAM_EPS)


def _bisect(state: dict[str, Tensor], rows: Tensor, success: Tensor) -> None:
    """Choose each clip's next constant: smaller after a success, larger after a failure.

    Halfway on a logarithmic scale, as it also grows: constants differ by orders of magnitude, of which the arithmetic mean
    would hardly leave the larger.
    """
    now = state["constant"][rows]
    low, high = torch.where(success, state["low"][rows], now), torch.where(success, now, state["high"][rows])
    state["low"][rows], state["high"][rows] = low, high
    between = torch.where(low > 0, (low * high).sqrt(), high / GROWTH)
    state["constant"][rows] = torch.where(high < LARGEST, between, now * GROWTH)

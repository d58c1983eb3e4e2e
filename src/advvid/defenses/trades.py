"""TRADES: clean accuracy against the divergence between the answers for clean and adversarial clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack, AttackResult, frozen
from advvid.attacks.gradient import IteratedAttack
from advvid.attacks.problem import Problem
from advvid.attacks.search import Ascent, gradient_search
from advvid.core.batch import Batch, clip_generators
from advvid.core.errors import AdvvidError
from advvid.core.kinds import NotNegativeNumber, PositiveNumber
from advvid.defenses.at import AT
from advvid.defenses.base import Logs, Step, single
from advvid.defenses.crafted import FORWARD, Crafted, check_classes, check_iterated, clean
from advvid.defenses.divergence import Divergence, divergence
from advvid.models.modes import mode
from advvid.tasks.base import Task
from advvid.threats.base import draw


@dataclass(kw_only=True)
class TRADES(AT):
    """TRADES (Zhang et al. 2019, eq. 5 and algorithm 1), with the KL divergence of its published code.

    Minimises ``L(f(x), y) + beta * KL(f(x) || f(x'))``, where x' maximises that divergence within the attack's set.
    Cost per clip: ``inner_steps`` + 2.5 passes, the half for the clean answer that the search moves away from; with
    beta 0 or budget 0 it is plain training, at 1 pass.

    Args:
        beta: weight of the divergence, the paper's 1 / lambda.
        surrogate: what the inner attack raises: ``kl``, the divergence, or ``task``, the label's loss as in AT.
        start: ``attack`` begins where the attack does (PGD: uniform in the ball); ``gaussian`` at the clean clip plus
            normal noise of deviation ``noise``, as the published code does.
        noise: see ``start``.

    Shape:
        see ``Defense.objective``; ``correct`` is judged on the adversarial clips.

    Example:
        >>> TRADES(beta=6).objective(model, batch, {"pgd": PGD()}, step)     # doctest: +SKIP
    """

    beta: NotNegativeNumber = 6.0
    surrogate: Literal["kl", "task"] = "kl"
    start: Literal["attack", "gaussian"] = "attack"
    noise: PositiveNumber = 0.001

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Want classes, an attack whose search can follow the divergence, and a start at which that has a gradient."""
        check_classes(self, "trades")
        attack = single(attacks, "trades")
        if self.surrogate == "task" and self.start == "attack":
            return
        iterated = check_iterated(attack, "trades", plain=self.start == "gaussian")
        from_clean = not iterated.random_start and not hasattr(iterated, "fill")
        if self.start == "attack" and from_clean:
            raise AdvvidError(
                "defense=trades would start at the clean clip, where the divergence has no gradient: set "
                "attack.random_start=true or defense.start=gaussian"
            )

    def prepare(self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step) -> Crafted:
        """Look for the clip whose answer is farthest from the clean one (algorithm 1, lines 5 to 7)."""
        attack = self.inner(single(attacks, "trades"))
        if self.beta == 0 or getattr(attack, "eps", 1) == 0:
            return clean(batch)
        task: Task = self.task
        target, passes = batch.target, 0.0
        if self.surrogate == "kl":
            with mode(model, self.inner_mode == "train"), frozen(model), torch.no_grad():
                task, target, passes = Divergence(), model(batch.inputs).float(), FORWARD
        result = self._search(model, batch, attack, step, task, target)
        return Crafted(result.x_adv, batch.target, result.gradient_calls.float().mean() + passes)

    def _search(
        self, model: nn.Module, batch: Batch, attack: Attack, step: Step, task: Task, target: Tensor
    ) -> AttackResult:
        generators = clip_generators(step.seed, step.key, batch.ids)
        with mode(model, self.inner_mode == "train"):
            if self.start == "attack":
                return attack.run(model, batch.inputs, target, generators, task=task)
            assert isinstance(attack, IteratedAttack)  # as check() made sure
            with frozen(model):
                aux = attack.threat.sample(batch.inputs, generators)
                noise = float(self.noise) * draw("randn", batch.inputs.shape[1:], generators, batch.inputs)
                start = attack.threat.project(batch.inputs + noise, batch.inputs, aux)
                problem = Problem(model, batch.inputs, target, generators, task=task)
                ascent = Ascent(step_size=attack.step, steps=attack.steps, early_exit=False, keep="last")
                return gradient_search(problem, start, attack.threat, aux, ascent)

    def fit(self, model: nn.Module, batch: Batch, crafted: Crafted, step: Step) -> tuple[Tensor, Logs]:
        """Return ``L(f(x), y) + beta * KL(f(x) || f(x'))``."""
        if crafted.clips is batch.inputs:  # nothing to compare with: plain training, statistics of BatchNorm included
            return self.fit_to(model, batch.inputs, batch.target, 1)
        out, out_adv = model(batch.inputs), model(crafted.clips)
        apart = divergence(out, out_adv).mean()
        loss = self.task.loss(out, batch.target).mean() + float(self.beta) * apart
        logs = {"passes": torch.tensor(2.0), "divergence": apart.detach()}
        correct = self.task.correct(out_adv.detach(), batch.target)
        if correct is not None:
            logs["correct"] = correct
        return loss, logs

"""An attack on classifier and detector at once: fool the one and keep the other's index low."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from advvid.attacks.base import AttackResult
from advvid.attacks.pgd import PGD
from advvid.attacks.problem import Problem
from advvid.detectors.temporal_consistency import TemporalConsistency


@dataclass(frozen=True, kw_only=True)
class JointPGD(PGD):
    """PGD on ``loss - weight * index``, with the smooth form of a detector's index (adaptive evaluation of Jia et al.).

    The joint loss is that of an adversary who knows the detector (Carlini & Wagner 2017b, on ten detectors); the index
    enters it while the clip fools the classifier (as in selective PGD, Bryniarski et al. 2022). Of all iterates the one is
    kept that fools the classifier at the lowest index; where none fools, the last.

    Args:
        weight: of the index (lambda); 0 is PGD that does not know of the detector.
        detector: whose index it is; its thresholds play no part.
        network: whose answers the detector compares; None for the one that is attacked.

    Shape:
        ``aux["index"]``: the index of the result, ``[B]``.
    """

    weight: float = 1.0
    detector: TemporalConsistency = field(default_factory=TemporalConsistency)
    network: nn.Module | None = None

    def _search(self, problem: Problem) -> AttackResult:
        model, clips, labels, task = problem.model, problem.clips, problem.labels, problem.task
        threat, watched = self.threat, self.network or model
        x_adv = self._start(problem, {})
        best, low = x_adv, clips.new_full((len(clips),), torch.inf, dtype=torch.float64)
        at = torch.full((len(clips),), self.steps, device=clips.device)
        for step in range(self.steps + 1):
            x_adv = x_adv.detach().requires_grad_()
            out, compared = model(x_adv), self.detector.outputs(watched, x_adv)
            index = self.detector.index_of(compared.detach())
            right = task.correct(out.detach(), labels)
            better = (index < low) if right is None else (~right & (index < low))
            best = torch.where(better.view(-1, 1, 1, 1, 1), x_adv.detach(), best)
            low, at = torch.where(better, index, low), torch.where(better, step, at)
            if step == self.steps:
                break
            # Where the classifier is sure, its loss has next to no gradient and the index would lead the search astray.
            matters = 1 if right is None else (~right).float()
            gain = task.loss(out, labels) - self.weight * matters * self.detector.smooth(compared)
            (grad,) = torch.autograd.grad(gain.sum(), x_adv)
            with torch.no_grad():
                x_adv = threat.project(threat.ascend(x_adv, grad, self.step), clips)
        fooled = low < torch.inf
        result = torch.where(fooled.view(-1, 1, 1, 1, 1), best, x_adv.detach())
        calls = torch.full_like(at, self.steps)
        return AttackResult(result, at, calls, {"index": torch.where(fooled, low, index)})

"""MART: adversarial training that weighs clips by how wrong the model is about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.batch import Batch
from advvid.core.kinds import NotNegativeNumber
from advvid.defenses.at import AT
from advvid.defenses.base import Logs, Step, single
from advvid.defenses.crafted import Crafted, check_classes
from advvid.defenses.divergence import divergence


@dataclass(kw_only=True)
class MART(AT):
    """MART (Wang et al. 2020, eq. 11 and 12): boosted cross-entropy plus a divergence weighted by ``1 - p_y(x)``.

    Minimises ``-log p_y(x') - margin * log(1 - max_{k != y} p_k(x')) + beta * KL(p(x) || p(x')) (1 - p_y(x))``, with x'
    from the run's attack on the label's loss. The published code adds small constants inside the logarithms; here
    they are exact. Cost per clip: ``inner_steps`` + 2 passes; with beta 0 and margin 0 it is AT, at ``inner_steps`` + 1.

    Args:
        beta: weight of the divergence, the paper's lambda (5; its code uses 6 for wide networks).
        margin: weight of the second part of the boosted cross-entropy; the paper's is 1.

    Example:
        >>> MART(beta=5).objective(model, batch, {"pgd": PGD()}, step)     # doctest: +SKIP
    """

    beta: NotNegativeNumber = 5.0
    margin: NotNegativeNumber = 1.0

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Want a task with classes and exactly one attack."""
        check_classes(self, "mart")
        single(attacks, "mart")

    def fit(self, model: nn.Module, batch: Batch, crafted: Crafted, step: Step) -> tuple[Tensor, Logs]:
        """Return the boosted cross-entropy with the weighted divergence."""
        out = model(batch.inputs) if self.beta else None
        out_adv = model(crafted.clips)
        loss = self.task.loss(out_adv, batch.target).mean()
        if self.margin:
            loss = loss + float(self.margin) * runner_up(out_adv, batch.target).mean()
        if out is not None:
            doubt = 1 - out.float().softmax(dim=1).gather(1, batch.target[:, None]).squeeze(1)
            loss = loss + float(self.beta) * (divergence(out, out_adv) * doubt).mean()
        logs = {"passes": torch.tensor(1.0 if out is None else 2.0)}
        correct = self.task.correct(out_adv.detach(), batch.target)
        if correct is not None:
            logs["correct"] = correct
        return loss, logs


def runner_up(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``-log(1 - p_k)`` for the likeliest class k other than the true one.

    Shape:
        logits ``[B, K]``, target int64 ``[B]``; result ``[B]`` in float32.
    """
    logits = logits.float()
    wrong = logits.scatter(1, target[:, None], -torch.inf).argmax(dim=1)
    # log(1 - p_k) from the other logits, which stays finite where p_k rounds to 1.
    rest = logits.scatter(1, wrong[:, None], -torch.inf).logsumexp(dim=1)
    return logits.logsumexp(dim=1) - rest

"""What attacks on classifiers read from the logits: margins, DLR losses and the classes worth aiming at."""

from __future__ import annotations

import torch
from torch import Tensor

from advvid.core.errors import AdvvidError


def require_logits(out: Tensor, labels: Tensor, attack: str, several: bool = False) -> Tensor:
    """Return ``out`` if it holds logits ``[B, K]`` that fit the labels, in float32.

    Args:
        out: the model's output.
        labels: single classes ``[B]``, or bool ``[B, K]`` with several true ones for each clip.
        attack: its name, for the message.
        several: whether the attack takes several labels per clip.

    Raises:
        AdvvidError: for any other output or label.
    """
    one = labels.dim() == 1 and not labels.is_floating_point()
    many = several and labels.dtype == torch.bool and labels.shape == out.shape
    if out.dim() != 2 or not (one or many):
        raise AdvvidError(
            f"{attack} needs logits [B, K] and one class per clip, got an output of shape {list(out.shape)} and labels "
            f"of shape {list(labels.shape)}: choose attack=pgd, which takes its loss from the task"
        )
    if out.shape[1] < 2:
        raise AdvvidError(f"{attack} needs at least two classes, the model has {out.shape[1]}")
    return out.float()


def best_label(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the label's logit, the largest one where a clip has several labels, ``[B]``."""
    if labels.dim() == 2:
        return logits.masked_fill(~labels, -torch.inf).amax(dim=1)
    return logits.gather(1, labels[:, None]).squeeze(1)


def _others(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logits with those of labels, single ``[B]`` or bool ``[B, K]``, at minus infinity."""
    if labels.dim() == 2:
        return logits.masked_fill(labels, -torch.inf)
    return logits.scatter(1, labels[:, None], -torch.inf)


def best_other(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the largest logit of any class but the given ones, ``[B]``."""
    return _others(logits, classes).amax(dim=1)


def margin(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return how far the attack is from its goal, ``[B]``: negative once it is reached.

    The best label's logit minus the best other one; with targets, the best other logit minus the target's.

    Example:
        >>> margin(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
        tensor([1.])
    """
    if targets is None:
        return best_label(logits, labels) - best_other(logits, labels)
    return best_other(logits, targets) - logits.gather(1, targets[:, None]).squeeze(1)


def soft_margin(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return the margin with a soft maximum over the other classes, ``[B]``: the log-odds of the label.

    Its gradient has the direction of the cross-entropy's, which is this one times a factor (the probability of all other
    classes) that vanishes where the model is sure. With targets: minus the log-odds of the target.

    Example:
        >>> soft_margin(torch.tensor([[3.0, 1.0]]), torch.tensor([0]))
        tensor([2.])
    """
    if targets is None:
        return best_label(logits, labels) - _others(logits, labels).logsumexp(dim=1)
    return _others(logits, targets).logsumexp(dim=1) - best_label(logits, targets)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the difference of logits ratio (Croce & Hein 2020, eq. 6), ``[B]``; attacks raise it.

    ``-(z_y - max_other) / (z_1st - z_3rd)``: unchanged when the logits are shifted or scaled, so that a model cannot
    hide its gradients behind large logits. At least three classes.
    """
    top = logits.topk(3, dim=1).values
    return -margin(logits, labels) / (top[:, 0] - top[:, 2] + 1e-12)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the targeted DLR loss (Croce & Hein 2020, eq. 7), ``[B]``; attacks raise it.

    ``-(z_y - z_t) / (z_1st - (z_3rd + z_4th) / 2)``. At least four classes.
    """
    top = logits.topk(4, dim=1).values
    own = logits.gather(1, labels[:, None]).squeeze(1)
    aim = logits.gather(1, targets[:, None]).squeeze(1)
    return -(own - aim) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)


def likely_classes(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the ``min(count, K - 1)`` largest classes other than the labels, largest first, int64 ``[B, n]``.

    A clip with so many labels that fewer other classes are left has its largest one several times.

    Example:
        >>> likely_classes(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]), 9)
        tensor([[2, 1]])
    """
    best = _others(logits, labels).topk(min(count, logits.shape[1] - 1), dim=1)
    return torch.where(best.values == -torch.inf, best.indices[:, :1], best.indices)

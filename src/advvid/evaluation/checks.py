"""What a table says against itself: signs that an attack was too weak or a defense hides its gradients.

Each check compares columns that differ in one thing only, clip by clip on the same clips, so that a suite gets exactly
the checks that its columns allow. Sources: Carlini et al. 2019 (checklist), Athalye et al. 2018 (masked gradients),
AutoAttack's flags (Croce & Hein 2020), Zimmermann et al. 2022 (active tests).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from advvid.attacks.base import Attack, frozen
from advvid.core.batch import Batch
from advvid.evaluation.behaviour import companions, require_answers, require_evaluation_mode, require_no_state
from advvid.evaluation.check_rules import CONVERGED, FULL_RANGE, LUCK, NO_GRADIENT, Check, finding
from advvid.evaluation.columns import Column
from advvid.evaluation.untouched import Snapshot, draws
from advvid.tasks.base import Task

Right = Mapping[str, NDArray[np.bool_]]
Losses = Mapping[str, NDArray[np.floating[Any]]]


def table_checks(columns: Sequence[Column], right: Right, classes: int, losses: Losses | None = None) -> list[Check]:
    """Return every check that the scored columns allow.

    Args:
        columns: what was scored.
        right: ``bool [n]`` per column name and for ``clean``, see ``advvid.evaluation.tally.verdicts``.
        classes: number of classes, for the level of chance.
        losses: of the true label, ``[n]`` per column name; without them the loss is not compared.
    """
    # Whoever sees another model than the one that is scored may lose with more steps, or with more budget.
    direct = [column for column in columns if column.access not in ("oblivious", "gray_box")]
    return [
        *_more_steps(direct, right, losses or {}),
        *_larger_budgets(direct, right),
        *_full_range(direct, right, classes),
        *_one_step(direct, right),
        *_weaker_knowledge(columns, right),
        *_more_access(columns, right),
    ]


def model_checks(
    model: nn.Module, clips: Tensor, labels: Tensor, task: Task, ids: Sequence[str] | None = None
) -> list[Check]:
    """Return the checks on what the model puts out, on a batch.

    Shape:
        clips: ``[B, 3, T, H, W]``; labels: ``[B]``; ids: of the clips, for messages, or None for their numbers.

    Raises:
        AdvvidError: if the outputs are no answers, part of the model is in training mode, a call changes it, or a
            prediction depends on the batch.
    """
    require_evaluation_mode(model)
    with frozen(model):
        before, buffers = Snapshot.of(model), {name: value.clone() for name, value in model.named_buffers()}
        x = clips.clone().requires_grad_()
        out = model(x)
        names = [str(number) for number in range(len(clips))] if ids is None else ids
        require_answers(out, Batch(clips, labels, names), task)
        loss, grad = task.loss(out, labels).sum(), None
        if loss.requires_grad:  # a model may detach its clips, or compute under no_grad
            (grad,) = torch.autograd.grad(loss, x, allow_unused=True)
        with torch.no_grad():
            again = model(clips)
        require_no_state(model, before, buffers)
    zero = 1.0 if grad is None else float((grad.flatten(1) == 0).all(dim=1).float().mean())
    out = out.detach()
    flat = out.flatten(1)
    probable = bool((flat >= 0).all() and (flat <= 1).all() and ((flat.sum(dim=1) - 1).abs() < 1e-3).all())
    apart = float((out - again).abs().max())
    random = apart > 1e-4 or draws(model, clips[:1])
    others = [] if random else [companions(model, clips, out, task)]
    span = f"outputs lie in [{float(out.min()):.3g}, {float(out.max()):.3g}]"
    return [
        finding("probabilities", probable, span + " and sum to 1" * probable),
        finding("varying_outputs", apart > 1e-4, f"two calls on the same clips differ by up to {apart:.2g}"),
        finding(
            "zero_gradients",
            zero > NO_GRADIENT,
            f"the input gradient of the loss is exactly zero on {zero:.1%} of {len(clips)} clips"
            + ("" if grad is not None else ", since the model cuts its clips off from the graph"),
        ),
        *others,
    ]


def _without(attack: Attack, *fields: str) -> tuple[Any, ...]:
    """Return an attack's class and settings but for some fields, to find columns that differ in those alone."""
    return type(attack), tuple(sorted((k, repr(v)) for k, v in vars(attack).items() if k not in fields))


def _families(columns: Sequence[Column], varied: str, *also: str) -> Iterator[list[Column]]:
    """Yield groups of columns that differ in ``varied`` (and ``also``) only, in order of ``varied``."""
    groups: dict[Any, list[Column]] = {}
    for column in columns:
        if hasattr(column.attack, varied) and not column.attack.control:
            groups.setdefault((column.access, _without(column.attack, varied, *also)), []).append(column)
    for group in groups.values():
        if len({getattr(c.attack, varied) for c in group}) > 1:
            yield sorted(group, key=lambda c: float(getattr(c.attack, varied)))


def _more_steps(columns: Sequence[Column], right: Right, losses: Losses) -> Iterator[Check]:
    for group in _families(columns, "steps"):
        for few, many in pairwise(group):
            rise = float(right[many.name].mean() - right[few.name].mean())
            said = f"{few.name} leaves {right[few.name].mean():.1%}, {many.name} with more steps {right[many.name].mean():.1%}"
            yield finding("more_steps", rise > LUCK, said)
            stand = right[few.name] & right[many.name]
            if losses and stand.any():
                low, high = (float(losses[c.name][stand].mean()) for c in (few, many))
                said = f"{few.name} ends at a mean loss of {low:.4g}, {many.name} at {high:.4g}"
                # The mean of a few clips moves by luck of the start.
                yield finding(
                    "loss_falls", low - high > LUCK * abs(low) + 1e-6, f"{said}, over {int(stand.sum())} clips"
                )
        few, many = group[-2:]
        if many.attack.steps >= 2 * few.attack.steps:  # type: ignore[attr-defined]
            fall = float(right[few.name].mean() - right[many.name].mean())
            said = f"doubling the steps from {few.name} to {many.name} lowers accuracy by {fall:.1%}"
            yield finding("converged", fall > CONVERGED, said)


def _larger_budgets(columns: Sequence[Column], right: Right) -> Iterator[Check]:
    for group in _families(columns, "eps", "step_size"):
        for small, large in pairwise(group):
            rise = float(right[large.name].mean() - right[small.name].mean())
            said = f"{small.name} leaves {right[small.name].mean():.1%}, {large.name} {right[large.name].mean():.1%}"
            yield finding("larger_budget", rise > LUCK, said)


def _full_range(columns: Sequence[Column], right: Right, classes: int) -> Iterator[Check]:
    for column in columns:
        eps = getattr(column.attack, "eps", None)
        whole = column.attack.threat.budget.startswith("l-inf")
        if column.attack.control or not whole or eps is None or float(eps) < FULL_RANGE:
            continue
        accuracy = float(right[column.name].mean())
        said = f"{column.name} may change every pixel at will and still leaves {accuracy:.1%}"
        yield finding("full_range", accuracy > 1 / classes, said)


def _one_step(columns: Sequence[Column], right: Right) -> Iterator[Check]:
    single = [c for c in columns if type(c.attack).__name__ == "FGSM"]
    many = [c for c in columns if type(c.attack).__name__ == "PGD" and getattr(c.attack, "norm", "") == "linf"]
    for one in single:
        for other in many:
            if one.attack.eps == other.attack.eps:  # type: ignore[attr-defined]
                yield _beaten("one_step", one, other, right)


def _weaker_knowledge(columns: Sequence[Column], right: Right) -> Iterator[Check]:
    """Noise, transfer and gradient-free search know less than a white-box attack of the same budget."""
    blind = [c for c in columns if c.attack.control or c.attack.access == "black_box"]
    for weak in blind:
        for strong in columns:
            if (
                strong not in blind
                and strong.access in ("white_box", "adaptive")
                and weak.attack.threat == strong.attack.threat
            ):
                yield _beaten("less_knowledge", weak, strong, right)


def _more_access(columns: Sequence[Column], right: Right) -> Iterator[Check]:
    """More access to the system must not weaken the same attack."""
    rank = {"oblivious": 0, "gray_box": 1, "white_box": 2, "adaptive": 3}
    base: dict[str, list[Column]] = {}
    for column in columns:
        if column.access in rank:
            base.setdefault(column.name.split("@")[0], []).append(column)
    for group in base.values():
        for less, more in pairwise(sorted(group, key=lambda c: rank[c.access])):
            if rank[less.access] < rank[more.access]:
                yield _beaten("more_access", less, more, right)


def _beaten(name: str, weak: Column, strong: Column, right: Right) -> Check:
    share = float((~right[weak.name] & right[strong.name]).mean())
    return finding(name, share > LUCK, f"{weak.name} fools {share:.1%} of the clips, which {strong.name} does not")

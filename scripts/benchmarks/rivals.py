"""PGD in an l-inf ball, as advvid and each peer have it: the same start, steps and number of passes for all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advvid.attacks.base import frozen
from advvid.attacks.pgd import PGD

Attack = Callable[[Tensor, Tensor], Tensor]
ART_PGD = "art.attacks.evasion.projected_gradient_descent.projected_gradient_descent_pytorch"


@dataclass(frozen=True)
class Search:
    """Settings of PGD without random start, in [0, 1]."""

    steps: int = 10
    eps: float = 8 / 255
    step_size: float = 2 / 255


def ours(
    model: nn.Module,
    search: Search,
    keep: str = "last",
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Attack:
    """Return advvid's PGD over all steps; ``context`` is what it runs in, such as autocast."""
    attack = PGD(
        eps=search.eps, step_size=search.step_size, steps=search.steps, random_start=False, early_exit=False, keep=keep
    )

    def run(clips: Tensor, labels: Tensor) -> Tensor:
        with context():
            return attack(model, clips, labels)

    return run


def torchattacks(model: nn.Module, search: Search) -> Attack:
    """Return torchattacks' PGD."""
    make: Any = import_module("torchattacks").PGD
    attack = make(model, eps=search.eps, alpha=search.step_size, steps=search.steps, random_start=False)
    return lambda clips, labels: attack(clips, labels)


def foolbox(model: nn.Module, search: Search) -> Attack:
    """Return foolbox's PGD, called below its check of the result, which would cost a forward pass."""
    library: Any = import_module("foolbox")
    attack = library.attacks.LinfPGD(abs_stepsize=search.step_size, steps=search.steps, random_start=False)

    def run(clips: Tensor, labels: Tensor) -> Tensor:
        wrapped = library.PyTorchModel(model, bounds=(0, 1), device=clips.device)
        found: Tensor = attack.run(wrapped, clips, library.criteria.Misclassification(labels), epsilon=search.eps)
        return found

    return run


def art(model: nn.Module, search: Search, classes: int) -> Attack:
    """Return ART's PGD, without the forward pass behind its line in the log."""
    evasion: Any = import_module("art.attacks.evasion")
    classification: Any = import_module("art.estimators.classification")
    logging.getLogger("art").setLevel(logging.WARNING)

    def run(clips: Tensor, labels: Tensor) -> Tensor:
        estimator = classification.PyTorchClassifier(
            model,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(clips.shape[1:]),
            nb_classes=classes,
            clip_values=(0.0, 1.0),
            device_type="gpu" if clips.is_cuda else "cpu",
        )
        attack = evasion.ProjectedGradientDescent(
            estimator,
            eps=search.eps,
            eps_step=search.step_size,
            max_iter=search.steps,
            num_random_init=0,
            batch_size=len(clips),
            verbose=False,
        )
        truth = np.eye(classes, dtype=np.float32)[labels.cpu().numpy()]
        with patch(f"{ART_PGD}.compute_success", return_value=0.0):
            found = attack.generate(clips.cpu().numpy(), y=truth)
        return torch.from_numpy(found).to(clips)

    return run


def floor(model: nn.Module, search: Search, context: Callable[[], AbstractContextManager[Any]] = nullcontext) -> Attack:
    """Return the passes of the bare network that the search cannot do without, and nothing else."""

    def run(clips: Tensor, labels: Tensor) -> Tensor:
        x = clips.clone().requires_grad_()
        with frozen(model), context():
            for _ in range(search.steps):
                torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)
        return clips

    return run

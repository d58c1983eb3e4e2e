"""AutoAttack for video: a fixed cascade of attacks that leaves nothing to tune."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from advvid.attacks.apgd import APGD
from advvid.attacks.base import Attack, AttackResult
from advvid.attacks.cascade import Round, cascade
from advvid.attacks.expectation import draw_seeds
from advvid.attacks.fab import FAB
from advvid.attacks.logits import require_logits
from advvid.attacks.problem import Problem
from advvid.attacks.square import Square
from advvid.core.batch import derive_seed
from advvid.core.kinds import Count, NotNegativeNumber
from advvid.threats.balls import L2Ball, LinfBall, ball

# The targeted DLR loss needs four classes.
DLR_CLASSES = 4
PLUS_RESTARTS = 5


@dataclass(frozen=True, kw_only=True)
class AutoAttack(Attack):
    """AutoAttack (Croce & Hein 2020, sec. 5) on clips; a clip that is fooled takes no part in later attacks.

    - ``standard``: APGD-CE, APGD-T, FAB-T, Square.
    - ``plus``: APGD-CE, APGD-DLR and FAB with five restarts each, then Square, APGD-T and FAB-T.
    - ``rand``, for random models: APGD-CE and APGD-DLR on gradients averaged over ``eot`` draws.

    Models with fewer than four classes leave no DLR loss: its members are left out, which ``notes`` says in words and
    ``aux["dlr"]`` for each clip. Distance: l-inf or l2 over the whole clip.

    Args:
        eps: budget, a number or a fraction such as ``"8/255"``.
        norm: ``linf`` or ``l2``.
        version: ``standard``, ``plus`` or ``rand``.
        steps: iterations of each APGD and FAB search.
        targets: classes that APGD-T and FAB-T aim at; ``K - 1`` where the model has fewer.
        queries: of Square.
        eot: draws per gradient of ``rand``.
        early_exit: False to run every member on every clip and return the highest loss.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape. ``aux``: ``by`` int
        ``[B]``, the number of the member that fooled first (-1: none, or wrong before), ``queries`` int ``[B]`` of
        Square, ``dlr`` bool ``[B]``.

    Example:
        >>> list(AutoAttack().members(10))
        ['apgd_ce', 'apgd_t', 'fab_t', 'square']
    """

    eps: NotNegativeNumber = "8/255"
    norm: Literal["linf", "l2"] = "linf"
    version: Literal["standard", "plus", "rand"] = "standard"
    steps: Count = 100
    targets: Count = 9
    queries: Annotated[int, Ge(2)] = 5000
    eot: Count = 20
    early_exit: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.members(DLR_CLASSES)  # refuses an impossible setting now rather than at the first batch

    @property
    def threat(self) -> LinfBall | L2Ball:
        """The norm ball of radius eps, cut by the range of valid pixels."""
        return ball(self.norm, float(self.eps), self.space)

    def members(self, classes: int) -> dict[str, Attack]:
        """Return the cascade for a model with this many classes, in order."""
        targets = min(self.targets, classes - 1)
        restarts = PLUS_RESTARTS if self.version == "plus" else 1
        eot = self.eot if self.version == "rand" else 1

        def apgd(loss: Literal["ce", "dlr"], restarts: int, targets: int) -> APGD:
            return APGD(
                eps=self.eps,
                norm=self.norm,
                steps=self.steps,
                restarts=restarts,
                loss=loss,
                targets=targets,
                eot=eot,
                early_exit=self.early_exit,
                space=self.space,
            )

        def fab(restarts: int, targets: int) -> FAB:
            return FAB(
                eps=self.eps,
                norm=self.norm,
                steps=self.steps,
                restarts=restarts,
                targets=targets,
                early_exit=self.early_exit,
                space=self.space,
            )

        square = Square(
            eps=self.eps, norm=self.norm, queries=self.queries, early_exit=self.early_exit, space=self.space
        )
        ce, dlr = apgd("ce", restarts, 0), apgd("dlr", restarts, 0)
        aimed: dict[str, Attack] = {"apgd_t": apgd("dlr", 1, targets)}
        if self.version == "rand":
            chosen: dict[str, Attack] = {"apgd_ce": ce, "apgd_dlr": dlr}
        elif self.version == "plus":
            chosen = {"apgd_ce": ce, "apgd_dlr": dlr, "fab": fab(restarts, 0), "square": square, **aimed}
            chosen["fab_t"] = fab(1, targets)
        else:
            chosen = {"apgd_ce": ce, **aimed, "fab_t": fab(1, targets), "square": square}
        if classes < DLR_CLASSES:
            chosen = {name: member for name, member in chosen.items() if name not in ("apgd_dlr", "apgd_t")}
        return chosen

    def notes(self, classes: int) -> tuple[str, ...]:
        """Return what a table must say beside this attack's numbers, for a model with this many classes.

        Example:
            >>> AutoAttack().notes(3)[0]
            'AutoAttack without its DLR members: they need 4 classes, the model has 3.'
        """
        said = []
        if classes < DLR_CLASSES:
            said.append(
                f"AutoAttack without its DLR members: they need {DLR_CLASSES} classes, the model has {classes}."
            )
        small = [
            f"{getattr(self, name)} {name} (of {full})"
            for name, full in (("steps", 100), ("targets", min(9, classes - 1)), ("queries", 5000))
            if getattr(self, name) < full and not (self.version == "rand" and name != "steps")
        ]
        if small:
            said.append(f"AutoAttack at a smaller scale than its authors': {', '.join(small)}.")
        return tuple(said)

    def _search(self, problem: Problem) -> AttackResult:
        with torch.no_grad():
            classes = require_logits(problem.model(problem.clips), problem.labels, "AutoAttack").shape[1]
        members = self.members(classes)
        # Each member draws from generators of its own, so that what it finds does not depend on those before it.
        seeds = draw_seeds(problem.generators).tolist()
        queries = torch.zeros(len(problem), dtype=torch.int64, device=problem.clips.device)

        def run(name: str, member: Attack) -> Round:
            def search(rest: Problem, left: Tensor) -> AttackResult:
                own = [torch.Generator().manual_seed(derive_seed(seeds[i], name)) for i in left.tolist()]
                result = member.run(rest.model, rest.clips, rest.labels, own, rest.targets, rest.task)
                if "queries" in result.aux:
                    queries[left] += result.aux["queries"]
                return result

            return search

        rounds = [run(name, member) for name, member in members.items()]
        result, by = cascade(problem, rounds, self.early_exit)
        aux = {"by": by, "queries": queries, "dlr": torch.full_like(by, classes >= DLR_CLASSES, dtype=torch.bool)}
        return dataclasses.replace(result, aux=aux)

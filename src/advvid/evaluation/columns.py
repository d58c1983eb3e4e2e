"""A column of the table: an attack, whom it sees, and the check that it keeps what it claims."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.attacks.fitted import FittedAttack
from advvid.attacks.result import AttackResult, require_form
from advvid.core import digests
from advvid.core.batch import clip_generators
from advvid.core.errors import AdvvidError
from advvid.core.finite import watching
from advvid.core.identity import of_attack
from advvid.core.later import later
from advvid.evaluation.claims import require_honest
from advvid.evaluation.untouched import left_alone
from advvid.tasks.base import Task


@dataclass(frozen=True)
class Column:
    """A column of the table: an attack under a name, with the access that it has to the system.

    Args:
        name: in the table; ``pgd@oblivious`` is a weaker access of ``pgd`` and enters neither mean nor union.
        attack: what is run.
        access: ``oblivious``, ``gray_box``, ``white_box`` or ``adaptive``.
        seen: the model as this attacker sees it; None for the one that is scored.
        passes: of the bare model behind each gradient that the attack asks for, where ``seen`` averages over draws.
    """

    name: str
    attack: Attack
    access: str = "white_box"
    seen: nn.Module | None = field(default=None, compare=False, repr=False)
    passes: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        """The attack's class and settings, as plain values."""
        return {"class": type(self.attack).__name__, **dataclasses.asdict(self.attack)}

    @property
    def rests_on(self) -> str:
        """A digest of the attack, its settings, what it learned, and the model that it sees in place of the scored one."""
        learned = self.attack.state_dict() if isinstance(self.attack, FittedAttack) else {}
        seen = "" if self.seen is None else digests.of_module(self.seen)
        return digests.of_values(
            self.name, self.access, self.passes, of_attack(self.attack), digests.of_tensors(learned), seen
        )


def with_views(columns: Sequence[Column], views: Mapping[str, nn.Module]) -> list[Column]:
    """Return the columns, each white-box one followed by those of attackers who see another model.

    Such an attacker cannot tell when the system is fooled, so that the attack does not stop early.

    Args:
        columns: of the table.
        views: what is seen with an access, by its name, such as ``gray_box``.
    """
    found = []
    for column in columns:
        found.append(column)
        if column.access != "white_box" or column.attack.control:
            continue
        attack = column.attack.adjusted(early_exit=False)
        found += [Column(f"{column.name}@{access}", attack, access, seen) for access, seen in views.items()]
    return found


def fingerprint(model: nn.Module) -> str:
    """Return a digest of every weight and buffer of a model, by which a change is seen."""
    return digests.of_tensors(model.state_dict())


def craft(
    column: Column, model: nn.Module, clips: Tensor, labels: Tensor, ids: Sequence[str], seed: int, task: Task
) -> tuple[AttackResult, Tensor]:
    """Run a column's attack on clips and measure again what it claims.

    Returns:
        the attack's result, every pass of the bare model counted as a gradient call, and each clip's distance ``[B]``.

    The attack works on copies and must leave everything else as it found it; see ``advvid.evaluation``.

    Raises:
        AdvvidError: if a clip is outside the attack's threat set, naming the clip and the figure; if the result is of
            another form; if the attack changed the model, its inputs or the process; if the model put out NaN.
    """
    attack, seen, threat = column.attack, column.seen or model, column.attack.threat
    generators = clip_generators(seed, column.name.split("@")[0], ids)
    given = clips.clone(), labels.clone()
    with (
        left_alone([model] if seen is model else [model, seen], attack, clips[:1], column.name),
        watching(seen) as watch,
    ):
        result = attack.run(seen, *given, generators, task=task)
    require_form(result, clips, f"of column {column.name}")
    watch.require_none(lambda: str(_not_finite(column, model, clips, labels, ids, seed, task)))
    far = require_honest(result, column.name, threat, given, clips, labels, ids)
    return dataclasses.replace(result, gradient_calls=column.passes * result.gradient_calls), far


def _not_finite(
    column: Column, model: nn.Module, clips: Tensor, labels: Tensor, ids: Sequence[str], seed: int, task: Task
) -> AdvvidError:
    """Return the refusal of a model that put out NaN or infinity, after finding the clip: each is attacked by itself."""
    if len(ids) > 1:
        for i, name in enumerate(ids):
            try:
                with later(False):  # it is known at once which
                    craft(column, model, clips[i : i + 1], labels[i : i + 1], [name], seed, task)
            except AdvvidError as error:
                return error
    return AdvvidError(
        f"the model's output became NaN or infinite while column {column.name} attacked clip {ids[0]}: an attack cannot "
        "search there, and the clip would count as robust; look for a division by zero or an overflow in the model"
    )

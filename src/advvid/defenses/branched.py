"""What the two forms of MultiBN share: families of inputs, each trained through its own branch of BatchNorm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.defenses.at import AT
from advvid.defenses.base import Logs, OwnStep, Step
from advvid.defenses.crafted import Crafted, all_passes, clean
from advvid.models.multi_branch import MultiBranch, Through

CLEAN, ANY = "clean", "attack"


@dataclass(kw_only=True)
class Branched(AT):
    """Adversarial training against several attacks, with a branch of every BatchNorm for each family (Lo & Patel).

    The branches are ``clean`` and one for each family. All inputs of a family go through the network together, so that
    its branch's statistics are the family's; with a single branch for everything this is AVG with the clean clips.

    Args:
        inner_step_size: see ``Defense``; ``own`` as the sizes of Lo & Patel's attacks differ.
        families: the branch of an attack by the attack's name, where it has none of its own. The paper trains on PGD and
            ROA alone: ``{pgd: lp, salt_and_pepper: lp, roa: physical, framing: physical}``.
        total: ``mean`` of the losses of clean clips and of each attack's, as the published code takes it; ``sum`` as the
            paper's equation, whose gradient is that many times longer.
    """

    unpurified: ClassVar[str] = "asks the branches of the model one by one"

    inner_step_size: OwnStep = "own"
    families: Mapping[str, str] = field(default_factory=dict)
    total: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        lost = [f"{attack}: {name}" for attack, name in self.families.items() if name not in self.names]
        if lost:
            raise AdvvidError(
                f"defense.families has {', '.join(lost)}, a branch that no attack of defense.attacks trains: choose among "
                f"{', '.join(self.names)}, or add an attack of that family"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The branches: for clean clips, then for the families in the order of their attacks."""
        of = [self.families.get(attack, attack) for attack in self.attacks] if self.attacks else self.families.values()
        return tuple(dict.fromkeys([CLEAN, *(of or [ANY])]))

    def branched(self, model: nn.Module) -> MultiBranch:
        """Return the model as the one that ``wrap`` made.

        Raises:
            AdvvidError: if it is not.
        """
        if not isinstance(model, MultiBranch):
            raise AdvvidError(
                f"{type(self).__name__} trains a model with branches: hand it what its wrap(model) returns"
            )
        return model

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Take any set of attacks."""

    def family(self, attack: str) -> str:
        """Return the family of an attack as the model's branches know it; a run's own attack is ``attack``."""
        name = self.families.get(attack, attack)
        return name if name in self.names or ANY not in self.names else ANY

    def groups(
        self, model: MultiBranch, batch: Batch, attacks: Mapping[str, Attack], step: Step
    ) -> dict[int, list[Crafted]]:
        """Return clean and crafted clips by the number of their branch, each attack made through its own."""
        found = {model.branch_of(CLEAN): [clean(batch)]}
        for name, attack in attacks.items():
            branch = model.branch_of(self.family(name))
            # Without a budget these are clean clips: once is enough.
            if getattr(attack, "eps", 1) != 0 or branch not in found:
                made = self.attacked(Through(model, branch), batch, self.inner(attack), step)
                found.setdefault(branch, []).append(made)
        return found

    def answers(self, model: MultiBranch, clips: Mapping[int, Tensor]) -> tuple[list[Tensor], Tensor | None, Logs]:
        """Return the logits of each family, a further loss of the model's choice among branches, and logs."""
        return [model.answer(x, branch) for branch, x in clips.items()], None, {}

    def objective(
        self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step
    ) -> tuple[Tensor, Logs]:
        """Return the loss over clean and attacked clips; ``correct`` has an entry for every one of them."""
        branched = self.branched(model)
        groups = self.groups(branched, batch, attacks, step)
        inputs = {k: torch.cat([made.clips for made in group]) for k, group in groups.items()}
        target = torch.cat([made.target for group in groups.values() for made in group])
        outs, choice, extra = self.answers(branched, inputs)
        out, kinds = torch.cat(outs), len(target) // len(batch)
        loss = self.task.loss(out, target).mean()
        if choice is not None:
            loss = loss + choice
        spent = all_passes([made for group in groups.values() for made in group])
        logs = {"passes": spent + kinds, **extra}
        correct = self.task.correct(out.detach(), target)
        if correct is not None:
            logs["correct"] = correct
        return (loss * kinds if self.total == "sum" else loss), logs

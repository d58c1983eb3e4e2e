"""Adversarial training of the classifier behind a frozen generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.kinds import FilePath
from advvid.core.schedules import Schedule
from advvid.defenses.ape_gan import APEGAN
from advvid.defenses.base import Logs, Step
from advvid.defenses.generative import Generative, purified
from advvid.defenses.preparation import Preparation
from advvid.models.purified import Purified


@dataclass(kw_only=True)
class FrozenGANAT(Generative):
    """AT of F behind a frozen G (Kinfu & Vidal, eq. 13): the classifier's loss on F(G(X')) moves F alone.

    G comes from 3D APE-GAN, trained first unless a run is given; F starts as the classifier of that run. Cost per clip:
    the inner steps and 1 pass; what came before stands in ``prerequisite_passes``.

    Args:
        generator: None trains one on ``generator_schedule`` in ``prerequisites/generator``; else a run folder or .pt file of
            ``defense=ape_gan`` (or ``gat``), to take both G and F from.
        ape_gan: how G is built, which has to be as in that run, and how it is trained where there is none. Without
            attacks of its own it takes this defense's.
        generator_schedule: of that training. Other arguments: see ``Generative`` and ``Defense``.

    Example:
        >>> FrozenGANAT().objective(model, batch, {"pgd": PGD()}, step)     # doctest: +SKIP
    """

    generator: FilePath | None = None
    ape_gan: APEGAN = field(default_factory=APEGAN)
    generator_schedule: Schedule = field(default_factory=lambda: Schedule(epochs=20))

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.ape_gan) is not APEGAN:
            raise AdvvidError(
                f"defense.ape_gan={type(self.ape_gan).__name__} does not make a generator for a frozen classifier: choose ape_gan"
            )
        self.prerequisite_passes = 0.0

    def wrap(self, model: nn.Module) -> Purified:
        """Put a frozen generator in front of the model."""
        system = self.ape_gan.wrap(model)
        system.train_only(["classifier"])
        return system

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Want what the adversaries of both trainings want."""
        super().check(attacks, epochs)
        if self.generator is None:
            self.ape_gan.check(self.ape_gan.attacks or attacks, self.generator_schedule.epochs)

    def make_ready(self, model: nn.Module, preparation: Preparation) -> None:
        """Train or load the generator, and the classifier that it was made for."""
        system = purified(model)
        if self.generator is not None:
            preparation.load("defense.generator", self.generator, system)
            return
        first = self.ape_gan
        first.task = self.task
        system.train_only(["generator"])
        first.make_ready(system, preparation)
        passes = preparation.train("generator", system, first, self.generator_schedule, first.attacks or None)
        self.prerequisite_passes = first.prerequisite_passes + passes
        system.train_only(["classifier"])

    def objective(
        self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step
    ) -> tuple[Tensor, Logs]:
        """Return the classifier's loss on attacked and restored clips (eq. 13)."""
        clips, calls = self.attacked(purified(model), batch, attacks, step)
        loss, logs = self.fit_to(model, clips, batch.target, 1)
        logs["passes"] = calls + 1
        return loss, logs

    def describe(self, attacks: Mapping[str, Attack], step: Step) -> dict[str, Any]:
        """Return the adversary's budgets and what came before this training."""
        return {**super().describe(attacks, step), "prerequisite_passes": self.prerequisite_passes}

    def state_dict(self) -> dict[str, Any]:
        """Keep what came before, too."""
        return super().state_dict() | {"prerequisite_passes": self.prerequisite_passes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        super().load_state_dict(state)
        self.prerequisite_passes = state["prerequisite_passes"]

"""3D APE-GAN: a generator that takes the perturbation out of clips before a frozen classifier sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack, frozen
from advvid.core.batch import Batch
from advvid.core.kinds import Count, FilePath, NotNegativeNumber
from advvid.core.later import Sum, numbers, wide
from advvid.core.schedules import Schedule
from advvid.defenses.base import Logs, Measure, Step
from advvid.defenses.crafted import FORWARD
from advvid.defenses.critic import Critic
from advvid.defenses.generative import Generative, purified
from advvid.defenses.none import NoDefense
from advvid.defenses.preparation import Preparation
from advvid.models.ape_gan import Discriminator, Generator
from advvid.models.purified import Purified

# Where the classifier's weights come from, in place of a run folder: model.checkpoint, as it stands.
GIVEN = "model"
# As in the paper's code, for both networks.
ADAM = partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999))


@dataclass(kw_only=True)
class APEGAN(Generative):
    """3D APE-GAN (Kinfu & Vidal, eq. 9 to 12): ``gamma_mse * MSE(G(X'), X) - gamma_gan * log D(G(X'))``, classifier frozen.

    In turns: G moves with its own optimiser and D as it is; then, on every ``discriminator_every``-th update, D moves
    with its own on X and the new G's clips (the paper's code: two steps of G for one of D). A benign
    classifier is trained first, unless one is given; the cost of doing so stands in its own metrics.jsonl and as
    ``prerequisite_passes`` in this one's. Cost per clip: the inner steps, 1.5 passes (one of G and D, and F forward), and
    another 1.5 where D moves.

    Args:
        generator: makes G.
        generator_optimizer: makes G's optimiser, whose learning rate stays as it is (the paper's code: Adam, 2e-4, betas 0.5
            and 0.999); None for the schedule's.
        gamma_mse: weight of the reconstruction (eq. 10: squared distance over the channels, mean over T, H, W); the paper's
            gamma_1, 0.7 in its code.
        gamma_gan: weight of the adversarial term, the paper's gamma_2, 0.3 in its code; 0 leaves D out.
        discriminator: makes D from ``(3, T, H, W)``.
        discriminator_optimizer: makes D's optimiser, the same in the paper's code.
        discriminator_every: updates of G for each of D.
        classifier: None trains a benign one on ``classifier_schedule`` in ``prerequisites/classifier``; a run folder or .pt
            file; or ``model``, the weights that ``model.checkpoint`` gave.
        classifier_schedule: of that training. Other arguments: see ``Generative`` and ``Defense``.

    Example:
        >>> APEGAN(adversary=CAT()).objective(model, batch, {"pgd": PGD()}, step)     # doctest: +SKIP
    """

    generator: Callable[[], nn.Module] = field(default_factory=lambda: partial(Generator))
    generator_optimizer: Callable[..., torch.optim.Optimizer] | None = ADAM
    gamma_mse: NotNegativeNumber = 0.7
    gamma_gan: NotNegativeNumber = 0.3
    discriminator: Callable[..., nn.Module] = field(default_factory=lambda: partial(Discriminator))
    discriminator_optimizer: Callable[..., torch.optim.Optimizer] = ADAM
    discriminator_every: Count = 2
    classifier: FilePath | None = None
    classifier_schedule: Schedule = field(default_factory=lambda: Schedule(epochs=20))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.critic = Critic(self.discriminator, self.discriminator_optimizer)
        self.updates, self.prerequisite_passes = 0, 0.0
        self.pairs: list[tuple[Tensor, Tensor]] = []  # X and X' of this update, for D's turn
        self.sums: dict[str, Sum] = {}

    def wrap(self, model: nn.Module) -> Purified:
        """Put a new generator in front of the model, which is frozen."""
        system = Purified(self.generator(), model)
        system.train_only(["generator"])
        return system

    def own_optimizers(self, model: nn.Module) -> Sequence[torch.optim.Optimizer]:
        """Return the generator's."""
        if self.generator_optimizer is None:
            return ()
        return [self.generator_optimizer(weights)] if (weights := list(purified(model).generator.parameters())) else []

    def make_ready(self, model: nn.Module, preparation: Preparation) -> None:
        """Train or load the benign classifier."""
        system = purified(model)
        if self.classifier == GIVEN:
            return
        if self.classifier is not None:
            preparation.load("defense.classifier", self.classifier, system.classifier)
            return
        trained = system.trained
        system.train_only(["classifier"])
        benign = NoDefense(inner_steps=self.inner_steps, inner_step_size=self.inner_step_size, task=self.task)
        self.prerequisite_passes = preparation.train("classifier", system.classifier, benign, self.classifier_schedule)
        system.train_only(trained)

    def objective(
        self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step
    ) -> tuple[Tensor, Logs]:
        """Return the generator's loss (eq. 12) on attacked clips."""
        system = purified(model)
        clips, calls = self.attacked(system, batch, attacks, step)
        restored = system.restore(clips)
        loss = self.restoration(restored, batch, clips, step)
        # The classifier alone: the generator's statistics stay as its backward pass wants them.
        with frozen(system.classifier), torch.no_grad():
            correct = self.task.correct(system.classifier(restored.detach()), batch.target)
        logs = {"passes": calls + 1 + FORWARD + self.turn_passes()}
        if correct is not None:
            logs["correct"] = correct
        return loss, logs

    def restoration(self, restored: Tensor, batch: Batch, clips: Tensor, step: Step) -> Tensor:
        """Return the generator's own loss on ``restored`` = G(``clips``), and keep the clips for the discriminator."""
        mse = (restored.float() - batch.inputs).square().sum(dim=1).mean()
        self.note("restoration_mse", mse, len(clips))
        loss = float(self.gamma_mse) * mse
        if self.gamma_gan:
            self.critic.ready(batch.inputs, step.seed)
            gan = self.critic.surprise(restored).mean()
            self.note("generator_gan_loss", gan, len(clips))
            loss = loss + float(self.gamma_gan) * gan
            if self.turn:
                self.pairs.append((batch.inputs, clips.detach()))
        return loss

    @property
    def turn(self) -> bool:
        """Whether the discriminator moves after this update."""
        return bool(self.gamma_gan) and (self.updates + 1) % self.discriminator_every == 0

    def turn_passes(self) -> float:
        """Return the passes per clip of the discriminator's turn: itself, and the generator forward."""
        return 1 + FORWARD if self.turn else 0.0

    def end_update(self, model: nn.Module) -> None:
        """Move the discriminator where it is its turn (eq. 11), against the generator as it is now."""
        if self.turn:
            system = purified(model)
            with frozen(system), torch.no_grad():
                pairs = [(clean, system.restore(clips)) for clean, clips in self.pairs]
            loss = self.critic.learn(pairs, self.processes)
            self.note("discriminator_loss", loss, sum(len(clean) for clean, _ in pairs))
        self.pairs = []
        self.updates += 1

    def note(self, name: str, value: Tensor, clips: int) -> None:
        """Add to a mean over the epoch."""
        self.sums[name] = self.sums.get(name, 0.0) + wide(value) * clips
        self.sums[f"{name}/clips"] = self.sums.get(f"{name}/clips", 0.0) + clips

    def end_epoch(self, attacks: Mapping[str, Attack], step: Step, measure: Measure) -> dict[str, Any]:
        """Return the means over the epoch, and let the adversary adapt."""
        names = sorted(self.sums)  # the same in every process
        sums = dict(zip(names, self.processes.sum(numbers([self.sums[name] for name in names])), strict=True))
        self.sums = {}
        means = {name: sums[name] / sums[f"{name}/clips"] for name in names if "/" not in name}
        return means | super().end_epoch(attacks, step, measure)

    def describe(self, attacks: Mapping[str, Attack], step: Step) -> dict[str, Any]:
        """Return the adversary's budgets and what came before this training."""
        return {**super().describe(attacks, step), "prerequisite_passes": self.prerequisite_passes}

    def state_dict(self) -> dict[str, Any]:
        """Keep the discriminator, its optimiser, and where the turns and means stand."""
        return super().state_dict() | {
            "critic": self.critic.state_dict(),
            "updates": self.updates,
            "sums": {name: float(total) for name, total in self.sums.items()},
            "prerequisite_passes": self.prerequisite_passes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back; the means go on with the first process."""
        super().load_state_dict(state)
        self.critic.load_state_dict(state["critic"])
        self.updates, self.sums = state["updates"], dict(state["sums"]) if self.processes.main else {}
        self.prerequisite_passes = state["prerequisite_passes"]

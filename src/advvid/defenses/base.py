"""What a defense is: how training minimises, and what stands around the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from advvid.attacks.base import Attack, AttackResult
from advvid.core.allowed import check_fields
from advvid.core.batch import Batch, clip_generators
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, Numeral
from advvid.distributed.parallel import Processes
from advvid.models.modes import mode
from advvid.tasks.base import Task
from advvid.tasks.classification import Classification

if TYPE_CHECKING:  # which needs the trainer, which needs this module
    from advvid.defenses.preparation import Preparation

# Mean adversarial loss of an attack over a split ("val" or "train"), as the trainer measures it.
Measure = Callable[[Attack, str], float]
Logs = dict[str, Tensor]

# A step size, or each attack's own.
OwnStep = Annotated[float | str, Numeral(("own", "optimal", "optimal/2", "eps")), Ge(0)]


@dataclass(frozen=True)
class Step:
    """Where training stands: epoch and iteration count from 0; ``seed`` names the run's randomness."""

    epoch: int
    epochs: int
    iteration: int
    iterations: int
    seed: int

    @property
    def key(self) -> str:
        """A name for this step, for random numbers that a resumed run draws again."""
        return f"train/{self.epoch}/{self.iteration}"


@dataclass(kw_only=True)
class Defense:
    """Training without an adversary, and the base of every defense.

    Args:
        inner_steps: iterations of the inner attack of training; ``own`` leaves every attack as many as it is set to.
        inner_step_size: its step size: a number or fraction, ``optimal``, ``optimal/2`` or ``eps``
            (Kinfu & Vidal, table 1); ``own`` leaves every attack the step size that it is set to.
        inner_mode: ``eval`` crafts on running BatchNorm statistics; ``train`` on batch statistics, as the paper's
            code does. Neither lets the attack move the running statistics.
        attacks: the attacks trained against; empty for the run's ``attack``.
        task: what a wrong answer is.

    Attributes:
        processes: the processes that share the training, for a defense with weights of its own; the trainer fills it in.
    """

    # What validation picks the best checkpoint by: accuracy on "clean" or "robust" clips.
    monitor: ClassVar[str] = "clean"
    # Why runtime=fsdp cannot train it: it does this to the weights. Empty where calls of the whole model are all.
    unsharded: ClassVar[str] = ""
    # Why purify_training=true cannot train it, in the same words: purifiers stand before calls of the whole model alone.
    unpurified: ClassVar[str] = ""

    inner_steps: Count | Literal["own"] = 5
    inner_step_size: OwnStep = "optimal"
    inner_mode: Literal["eval", "train"] = "eval"
    attacks: Mapping[str, Attack] = field(default_factory=dict)
    task: Task = field(default_factory=Classification)
    processes: Processes = field(default_factory=Processes, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def paced(self) -> bool:
        """Whether what an epoch does depends on how many there are in all, so that training cannot go on for longer."""
        return False

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model that is trained and attacked: the given one, or one with something around it."""
        return model

    def views(self, model: nn.Module) -> dict[str, nn.Module]:
        """Return what attackers with less access see of a wrapped model, by the name of the access.

        Each gives every white-box column a companion such as ``pgd@gray_box`` in the table.
        """
        return {}

    def own_optimizers(self, model: nn.Module) -> Sequence[torch.optim.Optimizer]:
        """Return optimisers for weights of the wrapped model that the schedule's optimiser is to leave alone.

        They move with every update, at the learning rate that they are made with.
        """
        return ()

    def attacked_part(self, model: nn.Module) -> nn.Module:
        """Return what training attacks of the wrapped model: all of it, if a defense does not say otherwise."""
        return model

    def make_ready(self, model: nn.Module, preparation: Preparation) -> None:
        """Make or load, before training, what must exist by then, such as a benign classifier."""

    def objective(
        self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step
    ) -> tuple[Tensor, Logs]:
        """Return the loss to minimise on a batch, and what to log.

        Shape:
            loss: scalar. Logs are tensors: ``correct`` ``bool [B]`` on the clips trained on, ``passes`` (forward-
            backward passes per clip), and scalars of the defense's own.
        """
        return self.fit_to(model, batch.inputs, batch.target, 1)

    def fit_to(self, model: nn.Module, clips: Tensor, target: Tensor, passes: float) -> tuple[Tensor, Logs]:
        """Return the mean loss on these clips with its logs."""
        out = model(clips)
        loss = self.task.loss(out, target).mean()
        logs = {"passes": torch.tensor(float(passes))}
        correct = self.task.correct(out.detach(), target)
        if correct is not None:
            logs["correct"] = correct
        return loss, logs

    def end_update(self, model: nn.Module) -> None:
        """Move what the defense trains by itself, such as a discriminator; called in every process after each update."""

    def end_epoch(self, attacks: Mapping[str, Attack], step: Step, measure: Measure) -> dict[str, Any]:
        """Adapt after an epoch; return what to write into its line of metrics.jsonl."""
        return {}

    def describe(self, attacks: Mapping[str, Attack], step: Step) -> dict[str, Any]:
        """Return the budget in force (or the distribution over budgets) for metrics.jsonl."""
        return {}

    def moving(self, attacks: Mapping[str, Attack], step: Step) -> Attack | None:
        """Return the attack of a step whose budget moves with training, for validation beside the run's own attack."""
        return None

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Refuse attacks or lengths that this defense cannot use, before any work is done.

        Raises:
            AdvvidError: naming what does not fit.
        """

    def require_shape(self, shape: Sequence[int]) -> None:
        """Refuse inputs that this defense cannot be trained on, before any work is done.

        Args:
            shape: of one input, ``(3, T, H, W)`` for clips.

        Raises:
            AdvvidError: naming the inputs.
        """

    def inner(self, attack: Attack, eps: float | None = None) -> Attack:
        """Return an attack as the inner maximisation of training, on another budget where ``eps`` is given."""
        own = getattr(attack, "step_size", "optimal")  # an attack without step size leaves the rule aside
        size = own if self.inner_step_size == "own" else self.inner_step_size
        return attack.inner(self.steps_of(attack), size, eps)

    def steps_of(self, attack: Attack) -> int:
        """Return how many steps the inner attack takes; 1 for an attack that has no such setting."""
        return int(getattr(attack, "steps", 1)) if self.inner_steps == "own" else self.inner_steps

    def craft(self, model: nn.Module, batch: Batch, attack: Attack, step: Step) -> AttackResult:
        """Make adversarial clips for training; the model's modes come back as they were."""
        generators = clip_generators(step.seed, step.key, batch.ids)
        with mode(model, self.inner_mode == "train"):
            return attack.run(model, batch.inputs, batch.target, generators, task=self.task)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` gave."""


def single(attacks: Mapping[str, Attack], defense: str) -> Attack:
    """Return the one attack of a defense that trains against exactly one.

    Raises:
        AdvvidError: if there are several.
    """
    if len(attacks) != 1:
        raise AdvvidError(
            f"defense={defense} trains against one attack but got {len(attacks)} ({', '.join(attacks)}): "
            "keep one, or choose a defense over several attacks such as aat_types"
        )
    return next(iter(attacks.values()))


def check_epsilon(attack: Attack, defense: str) -> None:
    """Refuse an attack whose budget is no ``eps``, for defenses that vary it."""
    if not hasattr(attack, "eps"):
        raise AdvvidError(
            f"defense={defense} varies the budget eps, which {type(attack).__name__} does not have: choose an attack "
            "with eps such as pgd"
        )

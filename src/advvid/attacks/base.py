"""What every attack has in common: its call, its result and the respect for the model it attacks."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from advvid.attacks.problem import Problem
from advvid.attacks.result import AttackResult as AttackResult
from advvid.attacks.result import require_form
from advvid.core.allowed import check_fields
from advvid.core.batch import Space, derive_seed
from advvid.core.errors import AdvvidError
from advvid.core.later import require
from advvid.core.numbers import parse_number
from advvid.tasks.base import Task
from advvid.tasks.classification import Classification
from advvid.threats.base import Threat

# How torch says that there is no gradient.
NO_GRADIENT = ("does not require grad", "appears to not have been used in the graph")


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """A way to search a threat set for clips that fool a model. Holds settings only, never a model.

    Example:
        >>> attack = PGD(eps="8/255", steps=10)            # doctest: +SKIP
        >>> x_adv = attack(model, clips, labels)           # doctest: +SKIP
    """

    # Whether the attack raises the loss of the true label (contract tests check that it does not fall).
    maximises: ClassVar[bool] = True
    # Controls use no knowledge of the model; they stand beside the table and enter neither mean nor union.
    control: ClassVar[bool] = False
    # What the attack knows of the model that is scored: ``white_box`` or ``black_box``.
    access: ClassVar[str] = "white_box"
    # Whether the search takes inputs of any shape, such as features ``[B, T, F]``; others change pixels of frames.
    any_shape: ClassVar[bool] = False

    space: Space = field(default_factory=Space)

    def __new__(cls, *settings: Any, **named: Any) -> Self:
        """Refuse settings without a name, which mean something else in every library.

        Raises:
            TypeError: saying how to write them.
        """
        if settings:
            names = [f.name for f in dataclasses.fields(cls) if f.init and f.name != "space"]
            first = "eps" if "eps" in names else (names or ["space"])[0]
            raise TypeError(f"{cls.__name__} takes its settings by name, as in {cls.__name__}({first}={settings[0]!r})")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        check_fields(self)
        _ = self.threat  # refuses an impossible budget now rather than at the first batch

    @property
    @abstractmethod
    def threat(self) -> Threat:
        """The union of all sets that the attack may choose from."""

    @property
    def stated_budget(self) -> str:
        """The threat in words, and how often a black-box attack may ask the model about each clip.

        Example:
            >>> Square(eps="8/255", queries=1000).stated_budget      # doctest: +SKIP
            'l-inf 8/255, 1000 queries'
        """
        queries = getattr(self, "queries", None) if self.access == "black_box" else None
        return self.threat.budget if queries is None else f"{self.threat.budget}, {queries} queries"

    def notes(self, classes: int) -> tuple[str, ...]:
        """Return what a table must say beside this attack's numbers, for a model with this many classes."""
        return ()

    @abstractmethod
    def _search(self, problem: Problem) -> AttackResult:
        """Find adversarial clips; the model is already frozen and the inputs are checked.

        Called by ``run``; an attack that is made of others may call it for them.
        """

    def __call__(
        self, model: nn.Module, clips: Tensor, labels: Tensor, generators: Sequence[torch.Generator] | None = None
    ) -> Tensor:
        """Return adversarial clips: detached, of the same shape and device, inside the threat."""
        return self.run(model, clips, labels, generators).x_adv

    def run(
        self,
        model: nn.Module,
        clips: Tensor,
        labels: Tensor,
        generators: Sequence[torch.Generator] | None = None,
        targets: Tensor | None = None,
        task: Task | None = None,
    ) -> AttackResult:
        """Attack a batch.

        The model's parameters' ``.grad``, its buffers (BatchNorm statistics) and every module's train/eval flag are
        left as they were found. The flags are not changed for the search either: evaluate in ``eval()`` mode.

        Args:
            model: maps clips to the task's output.
            clips: ``[B, 3, T, H, W]``, values in the attack's space.
            labels: the true answers, ``[B]``.
            generators: one per clip; drawn from torch's global generator when None.
            targets: answers to be reached instead (targeted form), ``[B]``.
            task: what a wrong answer is; single-label classification when None.

        Raises:
            AdvvidError: for clips outside the space, a batch of mixed lengths, inputs without frames of pixels for an
                attack that changes these, a model without a gradient, or a result of another form than is owed.
        """
        if generators is None:
            base = int(torch.randint(2**62, ()))
            generators = [torch.Generator().manual_seed(derive_seed(base, i)) for i in range(len(clips))]
        if not len(clips) == len(labels) == len(generators):
            raise AdvvidError(
                f"an attack needs one label and one generator per clip, got {len(clips)} clips, {len(labels)} labels "
                f"and {len(generators)} generators"
            )
        self.require_shape(clips.shape[1:])
        clips = clips.detach()
        require(self.space.contains(clips).all(), clips.aminmax, self._outside)
        with torch.enable_grad(), frozen(model):  # a caller may score under no_grad
            try:
                result = self._search(Problem(model, clips, labels, generators, targets, task or Classification()))
            except RuntimeError as error:
                if not any(words in str(error) for words in NO_GRADIENT):
                    raise
                raise _no_gradient(self, model, clips[:1]) from None
        if isinstance(result, AttackResult) and isinstance(result.x_adv, Tensor):
            result = dataclasses.replace(result, x_adv=result.x_adv.detach())
        require_form(result, clips, type(self).__name__)
        return result

    def _outside(self, values: Sequence[float]) -> str:
        return (
            f"clips must lie in [{self.space.low:g}, {self.space.high:g}] before normalisation, got values from "
            f"{values[0]:.3g} to {values[1]:.3g}: normalise inside the model instead"
        )

    def require_shape(self, shape: Sequence[int]) -> None:
        """Refuse inputs that this attack cannot change.

        Args:
            shape: of one input, ``(3, T, H, W)`` for clips.

        Raises:
            AdvvidError: for anything but clips, where the attack changes pixels of frames.
        """
        if not self.any_shape and len(shape) != 4:
            raise AdvvidError(
                f"{type(self).__name__} changes pixels of frames [B, 3, T, H, W], not inputs of shape "
                f"{' x '.join(map(str, shape))}: choose attack=pgd_l2 or suite=features for features"
            )

    def inner(self, steps: int, step_size: float | str, eps: float | None = None) -> Self:
        """Return this attack as the inner maximisation of training: plain, once, without early exit.

        Args:
            steps: iterations, where the attack has such a setting.
            step_size: see ``resolve_step``.
            eps: another budget, or None to keep the attack's own.
        """
        budget = {} if eps is None else {"eps": eps}
        return self.adjusted(steps=steps, step_size=step_size, restarts=1, early_exit=False, keep="last", **budget)

    def adjusted(self, **settings: Any) -> Self:
        """Return this attack with other settings; those that it does not have are left aside.

        Example:
            >>> PGD(steps=20).adjusted(steps=5, queries=100).steps      # doctest: +SKIP
            5
        """
        own = {f.name for f in dataclasses.fields(self)} & set(settings)
        return dataclasses.replace(self, **{name: settings[name] for name in own}) if own else self

    def _set(self, name: str, value: object) -> None:
        """Write a parsed value back while the frozen dataclass is being built."""
        object.__setattr__(self, name, value)


def _no_gradient(attack: Attack, model: nn.Module, clip: Tensor) -> AdvvidError:
    """Return the refusal of a search that found no gradient to follow, and say who cut it off."""
    out = model(clip.clone().requires_grad_())
    if isinstance(out, Tensor) and out.requires_grad:
        return AdvvidError(
            f"the attack {type(attack).__name__} asked for a gradient of something that does not depend on its clips: mend "
            "the attack, which cuts its clips off from the graph"
        )
    return AdvvidError(
        "the model's output has no gradient with respect to its clips: it detaches them or computes under no_grad, so that "
        f"{type(attack).__name__} has nothing to follow; mend the model, or choose an attack without gradients such as square"
    )


def in_space(attack: Attack, space: Space) -> Attack:
    """Return an attack, and every attack inside it, with another space of values than that of clips."""
    inside = {
        f.name: in_space(value, space)
        for f in dataclasses.fields(attack)
        if isinstance(value := getattr(attack, f.name), Attack)
    }
    return attack if attack.space == space and not inside else dataclasses.replace(attack, space=space, **inside)


def optimal_step(eps: float) -> float:
    """Return the step size that Kinfu & Vidal (sec. 3.1, fig. 2) find best for a budget.

    ``0.2 (eps + 1)`` with both in grey levels; here both are in [0, 1].

    Example:
        >>> round(optimal_step(8 / 255) * 255, 6)
        1.8
    """
    return 0.2 * (eps * 255 + 1) / 255


def resolve_step(step_size: float | str, eps: float) -> float:
    """Turn a step-size rule into a number.

    Args:
        step_size: a number or fraction, or ``optimal``, ``optimal/2``, ``eps`` (the three of Kinfu & Vidal, table 1).
        eps: the budget that the rules refer to.

    Raises:
        AdvvidError: for anything else, and for a negative number.
    """
    rules = {"optimal": optimal_step(eps), "optimal/2": optimal_step(eps) / 2, "eps": eps}
    if step_size in rules:
        return rules[str(step_size)]
    try:
        number = parse_number(step_size)
    except AdvvidError:
        raise AdvvidError(
            f"step_size={step_size!r} is not known: write a number, a fraction such as 2/255, optimal, optimal/2 or eps"
        ) from None
    if number < 0:
        raise AdvvidError(f"step_size={step_size!r} is negative: write a number of at least 0")
    return number


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Keep parameters out of the graph and every buffer as it is.

    Only gradients of the input are then computed. Modules in training mode (an option of adversarial training) would
    update running statistics during the search; those are put back.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    moving = any(module.training for module in model.modules())
    before = [(buffer, buffer.detach().clone()) for buffer in model.buffers()] if moving else []
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)

"""Dense universal attack: a trained generator of perturbations that fool a model at any offset in time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack, AttackResult, frozen
from advvid.attacks.cyclic import begun_anywhere, cycle
from advvid.attacks.fitted import FittedAttack
from advvid.attacks.penalised import adversarial_term
from advvid.attacks.perturbation_generator import PerturbationGenerator, seeded
from advvid.attacks.problem import Goal, Problem
from advvid.core.batch import Batch, derive_seed
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, FilePath, NotNegativeNumber
from advvid.core.paths import user_path
from advvid.tasks.base import Task
from advvid.tasks.classification import Classification
from advvid.threats.balls import LinfBall
from advvid.threats.base import draw

# Judgements without a better generator after which its training ends.
WAITS = 2


@dataclass(frozen=True, kw_only=True)
class Universal(Attack):
    """Dense universal perturbations by a generator (Li et al. 2018, C-DUP-GAN; Jia et al., sec. 4.1).

    ``fit`` trains a network from noise to a perturbation of every frame, bounded by eps, that fools many clips of a set
    when begun at any frame of its cycle; the video's own class boundaries and start are not known to the attacker in
    real time. The result adds a perturbation from fresh noise at a random offset to each clip, without a gradient.
    Distance: l-inf. Of the original's settings only the abstract is known; these are ours.

    Run without ``fit`` or ``checkpoint``, the attack trains a network on each clip by itself, so that no clip depends on
    another: slow, and a bound on what the universal form can reach.

    Args:
        eps: budget in [0, 1].
        steps: most training steps of the generator, each on one batch; batches are walked again as often as needed.
        patience: steps after which ``fit`` judges the generator on the first batch, which is held out where there are others; it
            ends when that got no better twice running, and the best one is kept.
        step_size: Adam's learning rate of the generator's weights.
        latent: length of the noise vector.
        width: channels of the generator.
        adversarial: ``other`` or ``task``; see ``advvid.attacks.penalised.adversarial_term``.
        checkpoint: file of a fitted attack's ``state_dict`` (``torch.save``), used in place of training.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``aux["begin"]``: int64 ``[B]``, the offset in frames.

    Example:
        >>> fitted = Universal().fit(model, loader, torch.Generator())   # doctest: +SKIP
        >>> torch.save(fitted.state_dict(), "universal.pt")              # doctest: +SKIP
    """

    # What is raised is the mean over clips and offsets; a single clip at a single offset may come off well.
    maximises: ClassVar[bool] = False

    eps: NotNegativeNumber = "10/255"
    steps: Count = 1000
    patience: Count = 100
    step_size: NotNegativeNumber = 0.002
    latent: Count = 32
    width: Count = 16
    adversarial: Literal["other", "task"] = "other"
    checkpoint: FilePath | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint is not None and not user_path(self.checkpoint).is_file():
            raise AdvvidError(
                f"checkpoint={self.checkpoint} does not exist: give the file of a fitted universal attack"
            )

    @property
    def threat(self) -> LinfBall:
        """The l-inf ball of radius eps."""
        return LinfBall(float(self.eps), self.space)

    def fit(
        self, model: nn.Module, loader: Iterable[Batch], generator: torch.Generator, task: Task | None = None
    ) -> FittedUniversal:
        """Train a generator on the clips of ``loader``, as long as its first batch's clips.

        Args:
            model: maps clips to the task's output, on the device that the clips are to be moved to.
            loader: batches of labelled clips; walked again where ``steps`` exceeds their number.
            generator: of the first weights, the noise and the offsets.
            task: what a wrong answer is; single-label classification when None.

        Raises:
            AdvvidError: if the loader is empty.
        """
        parameter = next(model.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        training: _Training | None = None
        held, alone, done = None, True, 0
        # The first batch is held out, unless there is no other.
        for batch in cycle(loader, 2 * self.steps + 1):
            if held is None or training is None:
                held = batch.to(device)
                training = _Training(self, held.inputs, generator)
                continue
            same = list(batch.ids) == list(held.ids)
            alone = alone and same
            if same and not alone:
                continue
            batch = batch.to(device)
            training.step(model, batch.inputs, Goal(task or Classification(), batch.target))
            done += 1
            over = done % self.patience == 0 or done == self.steps
            if (over and training.stands_still(model, held, task or Classification())) or done == self.steps:
                break
        if training is None:
            raise AdvvidError(
                "the universal attack found no clip to learn from: pass a list of batches or a data loader"
            )
        return FittedUniversal.of(self, training.best())

    def unfitted(self) -> FittedUniversal:
        """Return the fitted form without a generator."""
        return FittedUniversal(source=self, space=self.space)

    def _search(self, problem: Problem) -> AttackResult:
        if self.checkpoint is not None:
            path = user_path(self.checkpoint)
            fitted = self.unfitted()
            fitted.load_state_dict(_read(str(path), path.stat().st_mtime_ns))
            return fitted._search(problem)
        found = []
        for i, generator in enumerate(problem.generators):
            one = problem.select(torch.tensor([i]))
            training = _Training(self, one.clips, generator)
            for _ in range(self.steps):
                training.step(problem.model, one.clips, one.goal)
            found.append(_applied(self, training.network, one.clips, one.generators))
        spent = torch.full((len(problem),), self.steps, device=problem.clips.device)
        x_adv, begin = (torch.cat(parts) for parts in zip(*found, strict=True))
        return AttackResult(x_adv, spent, spent.clone(), {"begin": begin})


class _Training:
    """A generator network under training."""

    def __init__(self, attack: Universal, clips: Tensor, generator: torch.Generator) -> None:
        self.attack, self.generator = attack, generator
        self.network = seeded(clips.shape[1:], attack.latent, attack.width, generator)
        self.network.to(clips.device, non_blocking=True)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=float(attack.step_size))
        self.most, self.waited = -torch.inf, 0
        self.kept: dict[str, Tensor] = {}

    def step(self, model: nn.Module, clips: Tensor, goal: Goal) -> None:
        """Raise the adversarial term of a batch at one noise and one random offset per clip."""
        with torch.enable_grad(), frozen(model):
            x_adv, _ = _applied(self.attack, self.network, clips, [self.generator] * len(clips))
            gain = adversarial_term(model(x_adv), goal, self.attack.adversarial, "universal").mean()
            gradients = torch.autograd.grad(-gain, list(self.network.parameters()))
        for parameter, gradient in zip(self.network.parameters(), gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()

    def stands_still(self, model: nn.Module, held: Batch, task: Task) -> bool:
        """Judge the network on clips that it does not learn from; tell whether it was no better than before twice running.

        The noise and the offsets are the same each time.
        """
        draws = [torch.Generator().manual_seed(derive_seed(0, i)) for i in range(len(held))]
        with torch.no_grad(), frozen(model):
            x_adv, _ = _applied(self.attack, self.network, held.inputs, draws)
            goal = Goal(task, held.target)
            gain = float(adversarial_term(model(x_adv), goal, self.attack.adversarial, "universal").mean())
        if gain > self.most:
            self.most, self.waited = gain, 0
            self.kept = {name: value.clone() for name, value in self.network.state_dict().items()}
        else:
            self.waited += 1
        return self.waited >= WAITS

    def best(self) -> PerturbationGenerator:
        """Return the network as it was when it was judged best."""
        if self.kept:
            self.network.load_state_dict(self.kept)
        return self.network


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedUniversal(FittedAttack):
    """A trained generator, whose perturbations are added at random offsets; made by ``Universal.fit``.

    Longer clips see a perturbation again from its start, shorter ones a part of it. The state is the network's weights and
    ``shape``, the perturbation's ``(3, T, H, W)``.
    """

    maximises: ClassVar[bool] = False

    source: Universal

    @classmethod
    def of(cls, source: Universal, network: PerturbationGenerator) -> FittedUniversal:
        """Return the fitted attack of a trained network."""
        fitted = cls(source=source, space=source.space)
        fitted._set("_network", network.eval().requires_grad_(False))
        return fitted

    @property
    def threat(self) -> LinfBall:
        """The l-inf ball of radius eps."""
        return self.source.threat

    def state_dict(self) -> dict[str, Tensor]:
        """Return the network's weights and its shape.

        Raises:
            AdvvidError: if there is none yet.
        """
        network = self._trained()
        return {**network.state_dict(), "shape": torch.tensor(network.shape)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a network; latent and width must be the source's.

        Raises:
            AdvvidError: if the state is of another network.
        """
        weights = {name: value for name, value in state.items() if name != "shape"}
        try:
            shape = [int(side) for side in state["shape"]]
            network = PerturbationGenerator(shape, self.source.latent, self.source.width)
            network.load_state_dict(weights)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise AdvvidError(
                "this is no state of a universal attack with "
                f"latent={self.source.latent} and width={self.source.width}: {str(error).splitlines()[0]}"
            ) from None
        self._set("_network", network.eval().requires_grad_(False))

    def _trained(self) -> PerturbationGenerator:
        network = getattr(self, "_network", None)
        if network is None:
            raise AdvvidError("this universal attack has no generator: fit it, or load one with load_state_dict")
        return network

    def _search(self, problem: Problem) -> AttackResult:
        clips = problem.clips
        network = self._trained().to(clips.device)
        channels, _, height, width = network.shape
        if (channels, height, width) != (clips.shape[1], *clips.shape[3:]):
            raise AdvvidError(
                f"this universal attack was fitted to frames of {height} x {width}, the clips have {clips.shape[3]} x "
                f"{clips.shape[4]}: fit it on clips of that size"
            )
        with torch.no_grad():
            x_adv, begin = _applied(self.source, network, clips, problem.generators)
        return AttackResult.unsearched(x_adv, {"begin": begin})


def _applied(
    attack: Universal, network: PerturbationGenerator, clips: Tensor, generators: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """Return clips under a perturbation from fresh noise each, begun at a random frame of its cycle, and that frame."""
    noise = draw("randn", (attack.latent,), generators, clips)
    pattern = float(attack.eps) * network(noise)
    delta, begin = begun_anywhere(pattern, clips.shape[2], generators)
    return attack.space.clamp(clips + delta), begin


@lru_cache(maxsize=1)
def _read(path: str, changed: int) -> dict[str, Tensor]:
    """Read a state without running code; ``changed`` makes a rewritten file be read again."""
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the file, it is the user's to replace
        raise AdvvidError(
            f"checkpoint={path} is no state of a universal attack: {str(error).splitlines()[0]}"
        ) from None

"""Accuracy and loss of a model over a split, clean or attacked: what training watches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from advvid.attacks.base import Attack
from advvid.core.batch import Batch, clip_generators
from advvid.core.finite import require_finite
from advvid.core.later import Sum, numbers, wide
from advvid.defenses.base import Defense, Step
from advvid.distributed.parallel import Processes
from advvid.tasks.base import Task

# By name; None stands for clean clips.
Attacks = Mapping[str, Attack | None]


@dataclass
class Meter:
    """Running means over clips. Sums stay on the device; ``together`` and the means read them."""

    clips: int = 0
    loss: Sum = 0.0
    correct: Sum = 0
    judged: int = 0
    passes: Sum = 0.0
    further: dict[str, Sum] = field(default_factory=dict)

    def add(
        self,
        losses: Tensor,
        correct: Tensor | None,
        clips: int,
        passes: Sum = 0.0,
        further: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            losses: the summed loss of the batch.
            correct: ``bool [B]`` or None where the task has no right answer.
            clips: number of clips.
            passes: forward-backward passes per clip.
            further: what a defense tells of the batch besides, one mean per name; what is named above is left out.
        """
        self.clips += clips
        self.loss = self.loss + wide(losses)  # never in place: copies of this meter keep theirs
        self.passes = self.passes + wide(passes) * clips
        if correct is not None:
            self.correct = self.correct + correct.sum()
            self.judged += len(correct)
        told = {
            name: wide(value) * clips for name, value in (further or {}).items() if name not in ("correct", "passes")
        }
        self.further = self.further | {name: self.further.get(name, 0.0) + value for name, value in told.items()}

    def together(self, processes: Processes) -> Meter:
        """Return the means over the clips of all processes."""
        names = sorted(self.further)
        sums = [self.loss, self.correct, self.passes, *(self.further[name] for name in names)]
        clips, judged, *read = processes.sum([self.clips, self.judged, *numbers(sums)])
        loss, correct, passes, *further = read
        return Meter(int(clips), loss, int(correct), int(judged), passes, dict(zip(names, further, strict=True)))

    @property
    def mean_loss(self) -> float:
        """The mean loss of a clip."""
        return float(self.loss) / max(1, self.clips)

    @property
    def means(self) -> dict[str, float]:
        """The mean over clips of whatever a defense told besides."""
        return {name: float(value) / max(1, self.clips) for name, value in self.further.items()}

    @property
    def line(self) -> dict[str, Any]:
        """What an epoch of training came to, by its names in ``metrics.jsonl``."""
        found = {"loss": self.mean_loss, "train_objective_acc": self.accuracy, "passes": float(self.passes)}
        return found | self.means

    @property
    def accuracy(self) -> float | None:
        """The share of right answers, or None where the task has none."""
        return float(self.correct) / self.judged if self.judged else None


@dataclass(frozen=True)
class Watched:
    """What validation came to.

    Args:
        seen: clean accuracy on as many training clips as there are for validation.
        clean: on the validation clips.
        robust: on the validation clips under the adversary.
        moving: on the validation clips under the attack of a defense whose budget moves; None where none does.
    """

    seen: Meter
    clean: Meter
    robust: Meter
    moving: Meter | None = None

    @property
    def line(self) -> dict[str, Any]:
        """Losses and accuracies, by their names in ``metrics.jsonl``."""
        found = {
            "train_acc": self.seen.accuracy,
            "val_loss": self.clean.mean_loss,
            "val_acc": self.clean.accuracy,
            "val_robust_loss": self.robust.mean_loss,
            "val_robust_acc": self.robust.accuracy,
        }
        return found if self.moving is None else found | {"val_trained_acc": self.moving.accuracy}

    def quality(self, monitor: str) -> float:
        """Return what the best checkpoint is chosen by: accuracy, or the negative loss where nothing is right or wrong.

        Args:
            monitor: ``robust`` or ``clean``.
        """
        judge = self.robust if monitor == "robust" else self.clean
        return -judge.mean_loss if judge.accuracy is None else judge.accuracy


def quick(attack: Attack) -> Attack:
    """Return an attack that leaves a clip as soon as it is fooled, as far as it has such settings."""
    return attack.adjusted(early_exit=True, keep="fooled")


def watched(defense: Defense, attacks: Mapping[str, Attack], step: Step) -> Attacks:
    """Return what validation scores: clean clips, the adversary with the inner attack's steps, and one whose budget moves."""
    found: dict[str, Attack | None] = {"clean": None, "robust": quick(defense.inner(next(iter(attacks.values()))))}
    if (moving := defense.moving(attacks, step)) is not None:
        found["moving"] = quick(moving)
    return found


def score(
    model: nn.Module,
    batches: Iterable[Batch],
    task: Task,
    device: torch.device,
    attacks: Attacks,
    draws: tuple[int, str] = (0, "val"),
    crafted_on: nn.Module | None = None,
) -> dict[str, Meter]:
    """Score a split in evaluation mode, clean and under attacks, in one walk over it.

    Args:
        model: maps clips to the task's output; its modes are put back.
        batches: of the split.
        task: what a wrong answer is.
        device: where to compute.
        attacks: by name; None stands for clean clips.
        draws: seed and name of the split; the attacks' random numbers depend on these and the clip's id alone.
        crafted_on: the part of the model that the attacks see; None for all of it.

    Returns:
        a meter for each attack, by its name.
    """
    seen = model if crafted_on is None else crafted_on
    meters = {key: Meter() for key in attacks}
    was_training = model.training
    model.eval()
    for raw in batches:
        batch = raw.to(device)
        for key, attack in attacks.items():
            clips = batch.inputs
            # A budget of 0 leaves the clip as it is; searching would only cost time.
            if attack is not None and getattr(attack, "eps", 1) != 0:
                clips = attack.run(seen, clips, batch.target, clip_generators(*draws, batch.ids), task=task).x_adv
            with torch.no_grad():
                out = model(clips)
                which = f"the {'clean' if attack is None else 'attacked'} clips of split {draws[1]}"
                require_finite(out, batch.ids, which)
                meters[key].add(task.loss(out, batch.target).sum(), task.correct(out, batch.target), len(batch))
    model.train(was_training)
    return meters

"""VFAT-WS: fast adversarial training on clips whose fine detail is moved, a little and a little more."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from advvid.attacks.base import Attack, frozen
from advvid.attacks.gradient import GradientAttack
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.kinds import NotNegativeNumber, Odd, PositiveNumber, Whole
from advvid.defenses.base import Logs, Step
from advvid.defenses.crafted import Crafted, check_classes, clean
from advvid.defenses.divergence import divergence
from advvid.defenses.fgsm_rs import FGSMRS
from advvid.defenses.frequency import Edges, Perturb
from advvid.models.modes import mode
from advvid.threats.base import Aux


@dataclass(kw_only=True)
class VFATWS(FGSMRS):
    """VFAT-WS (Wang et al. 2025, arXiv 2504.14921, withdrawn by its authors): one-step AT on clips with moved detail.

    The paper was withdrawn and its text cannot be had. From its abstract and a public summary are: the weak
    augmentation (TF-AUG), which moves the high frequencies of a clip by some frames (``Perturb``); one signed step from
    a uniform start on the augmented clip; a stronger form of it in space and time (STF-AUG); and a consistency term
    that leads from the weak to the strong. What the two leave open is chosen here, and each choice is an option: the
    strong clip moves the detail by some pixels as well; each of the two gets a step of its own; the label's loss is
    the mean of both; the consistency is ``KL(p_weak || p_strong)``, whose gradient moves the answer for the strong clip
    alone; sizes and weights. Published figures cannot be compared.

    The change of each clip lies in the attack's set around the augmented clip, and in the range of pixels. The monitor
    measures a step from a random start as ``fgsm_rs`` takes it. Cost per clip: 4 passes, 3 with ``strong_step=weak``;
    with budget 0 it is plain training.

    Args:
        kernel: pixels a side of the blur that tells fine detail from the rest, odd.
        frames: by which both augmentations move the detail in time, the summary's N.
        pixels: by which the strong one moves it in space too.
        edges: what comes in where detail was moved away: ``wrap``, that of the other end; ``repeat``, the first again.
        step_factor: step size over eps.
        keep_start: whether the step is added to the random start, as in FGSM-RS; the summary projects the step alone.
        strong_step: ``own``, a step for the strong clip too; ``weak``, the weak clip's change again.
        labelled: the clips whose answers the label trains: ``both`` or ``weak``.
        consistency: weight of the consistency term. Other arguments: see ``OneStep``.

    Shape:
        see ``Defense.objective``; ``correct`` is judged on the weak clips.

    Example:
        >>> VFATWS().objective(model, batch, {"pgd": PGD(eps="8/255")}, step)     # doctest: +SKIP
    """

    name: ClassVar[str] = "vfat_ws"

    kernel: Annotated[int, Ge(3), Le(31), Odd()] = 5
    frames: Whole = 1
    pixels: Whole = 1
    edges: Edges = "wrap"
    step_factor: PositiveNumber = 1.25
    keep_start: bool = False
    strong_step: Literal["own", "weak"] = "own"
    labelled: Literal["both", "weak"] = "both"
    consistency: NotNegativeNumber = 1.0

    def check(self, attacks: Mapping[str, Attack], epochs: int) -> None:
        """Want classes and one additive gradient attack."""
        check_classes(self, self.name)
        super().check(attacks, epochs)

    def require_shape(self, shape: Sequence[int]) -> None:
        """Want frames, and as many of them and of their pixels as the detail is moved by.

        Raises:
            AdvvidError: for other inputs.
        """
        if len(shape) != 4:
            raise AdvvidError(
                f"defense={self.name} moves detail of frames, and these inputs have none: choose a defense such as fgsm_rs"
            )
        _, frames, *sides = shape
        for option, value, size in (("frames", self.frames, frames), ("pixels", self.pixels, min(sides))):
            if value >= size:
                raise AdvvidError(
                    f"defense.{option}={value} moves detail out of a clip of {frames} frames of {sides[0]} x {sides[1]} pixels: "
                    f"choose less than {size}"
                )

    def weak(self) -> Perturb:
        """Return TF-AUG."""
        return Perturb(self.kernel, self.frames, edges=self.edges)

    def strong(self) -> Perturb:
        """Return STF-AUG."""
        return Perturb(self.kernel, self.frames, self.pixels, self.edges)

    def prepare(self, model: nn.Module, batch: Batch, attacks: Mapping[str, Attack], step: Step) -> Crafted:
        """Augment, and take one step from there; the weak clips come first, the strong ones after them."""
        attack = self.additive(attacks)
        if attack.radius == 0:
            return clean(batch)
        augmented = [
            attack.space.clamp(augment(batch.inputs), batch.inputs) for augment in (self.weak(), self.strong())
        ]
        weak, aux = self.stepped(model, augmented[0], batch, attack, step)
        if self.strong_step == "own":
            strong, passes = self.stepped(model, augmented[1], batch, attack, step)[0], 2.0
        else:
            strong, passes = attack.threat.project(augmented[1] + (weak - augmented[0]), augmented[1], aux), 1.0
        return Crafted(torch.cat([weak, strong]), batch.target, torch.tensor(passes))

    def stepped(
        self, model: nn.Module, clips: Tensor, batch: Batch, attack: GradientAttack, step: Step
    ) -> tuple[Tensor, Aux]:
        """Return augmented clips after one signed step from a uniform start, in the attack's set around them, and its choices."""
        begun = dataclasses.replace(attack, random_start=True).at_start()
        start = self.craft(model, Batch(clips, batch.target, batch.ids), begun, step)
        with mode(model, self.inner_mode == "train"), frozen(model):
            x = start.x_adv.detach().requires_grad_()
            (grad,) = torch.autograd.grad(self.task.loss(model(x), batch.target).sum(), x)
        origin = x.detach() if self.keep_start else clips
        changed = attack.threat.ascend(origin, grad, float(self.step_factor) * attack.radius, start.aux)
        return attack.threat.project(changed, clips, start.aux), start.aux

    def fit(self, model: nn.Module, batch: Batch, crafted: Crafted, step: Step) -> tuple[Tensor, Logs]:
        """Return the label's loss plus ``consistency * KL(p_weak || p_strong)``."""
        if crafted.clips is batch.inputs:  # budget 0: plain training, statistics of BatchNorm included
            return self.fit_to(model, batch.inputs, batch.target, 1)
        weak, strong = model(crafted.clips).chunk(2)
        loss = self.task.loss(weak, batch.target).mean()
        if self.labelled == "both":
            loss = (loss + self.task.loss(strong, batch.target).mean()) / 2
        apart = divergence(weak.detach(), strong).mean()
        logs = {"passes": torch.tensor(2.0), "divergence": apart.detach()}
        correct = self.task.correct(weak.detach(), batch.target)
        if correct is not None:
            logs["correct"] = correct
        return loss + float(self.consistency) * apart, logs

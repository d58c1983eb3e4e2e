"""Image-to-video: frames are driven away from their own features in an image network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from advvid.attacks.base import Attack, AttackResult
from advvid.attacks.problem import Problem
from advvid.attacks.transfer import Ensemble
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, NotNegativeNumber, PositiveNumber
from advvid.threats.balls import LinfBall

# The first change of every value, at which the cosine has a slope (the paper's: 0.01 grey levels).
FIRST = 0.01 / 255


@dataclass(frozen=True, kw_only=True)
class ImageToVideo(Attack):
    """Image-to-video (Wei et al. 2022, "Cross-modal transferable adversarial attacks from images to videos", algorithm 1).

    Adam lowers the cosine between the features of each frame in the middle of an image network and those of the clean
    frame. No label is used. It is made for transfer: ``attack=transfer attack@attack.attack=image_to_video
    attack.surrogate=<run of an image network>``; several surrogates are the paper's ensemble. Distance: l-inf.

    Args:
        eps: budget, a number or a fraction (the paper: 16/255).
        steps: of Adam (the paper: 60).
        step_size: Adam's learning rate (the paper: 0.005).
        layer: name of the module whose output is compared; null for the middle one of the convolutions.
        frame_by_frame: show the network single frames, as clips of one frame; false: whole clips, for video networks
            that take no single frame.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; returns clips of the same shape.

    Example:
        >>> ImageToVideo(eps="8/255").threat.budget
        'l-inf 8/255'
    """

    maximises: ClassVar[bool] = False

    eps: NotNegativeNumber = "8/255"
    steps: Count = 60
    step_size: PositiveNumber = 0.005
    layer: str | None = None
    frame_by_frame: bool = True

    @property
    def threat(self) -> LinfBall:
        """The l-inf ball of radius eps, cut by the range of valid pixels."""
        return LinfBall(float(self.eps), self.space)

    def notes(self, classes: int) -> tuple[str, ...]:
        """Return that it is made for transfer: it uses no label and does not ask whether the model is fooled."""
        return ("ImageToVideo is a transfer attack: it drives frames away from their features and looks at no label.",)

    def _search(self, problem: Problem) -> AttackResult:
        clips = problem.clips
        change = torch.full_like(clips, min(FIRST, float(self.eps)))
        with _features(problem.model, self.layer) as read:
            with torch.no_grad():
                clean = [feature.detach() for feature in read(self._shown(clips))]
            change.requires_grad_()
            descend = torch.optim.Adam([change], lr=float(self.step_size))
            for _ in range(self.steps):
                seen = read(self._shown(self.space.clamp(clips + change, clips)))
                alike = [
                    F.cosine_similarity(a.flatten(1), b.flatten(1)).sum() for a, b in zip(seen, clean, strict=True)
                ]
                (change.grad,) = torch.autograd.grad(torch.stack(alike).sum(), change)
                descend.step()
                with torch.no_grad():
                    change.clamp_(-float(self.eps), float(self.eps))
        spent = torch.full((len(clips),), self.steps, device=clips.device)
        return AttackResult(self.threat.project(clips + change.detach(), clips), spent, spent.clone())

    def _shown(self, clips: Tensor) -> Tensor:
        """Return what the network is shown: every frame as a clip of its own, ``[B * T, C, 1, H, W]``, or the clips."""
        return clips.transpose(1, 2).flatten(0, 1)[:, :, None] if self.frame_by_frame else clips


class _Reader:
    """A model, of which the output of one layer in each of its networks is read."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.found = model, list[Tensor]()

    def __call__(self, clips: Tensor) -> list[Tensor]:
        self.found.clear()
        self.model(clips)
        return list(self.found)


@contextmanager
def _features(model: nn.Module, layer: str | None) -> Iterator[_Reader]:
    """Give a reader of a layer's output; of every network's, where the model is an ensemble."""
    reader = _Reader(model)
    networks = list(model.networks) if isinstance(model, Ensemble) else [model]
    hooks = [
        _layer(network, layer).register_forward_hook(lambda module, given, out: reader.found.append(out))
        for network in networks
    ]
    try:
        yield reader
    finally:
        for hook in hooks:
            hook.remove()


def _layer(network: nn.Module, name: str | None) -> nn.Module:
    if name is None:
        convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Conv3d)]
        if not convolutions:
            raise AdvvidError("image_to_video finds no convolution in this network: name a module in attack.layer")
        return convolutions[len(convolutions) // 2]
    known = dict(network.named_modules())
    if name not in known:
        raise AdvvidError(f"attack.layer={name} is no module of this network: choose one such as {list(known)[-1]}")
    return known[name]

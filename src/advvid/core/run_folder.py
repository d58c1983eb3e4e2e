"""One folder, one run: what a run has written there, who works there, and how it is made room for another."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from advvid.core.errors import AdvvidError
from advvid.core.files import remove_abandoned, storage_error
from advvid.core.locks import locked
from advvid.core.paths import user_path

log = logging.getLogger(__name__)

LOCK = "run.lock"
# What each mode writes, so that exactly this can be removed; a folder's other files are somebody's own.
# fmt: off
TRAINED = (
    "metrics.jsonl", "checkpoints/last.pt", "checkpoints/best.pt", "prerequisites/**/metrics.jsonl",
    "prerequisites/**/checkpoints/last.pt", "prerequisites/**/checkpoints/best.pt", "prerequisites/**/manifest.json",
    "prerequisites/**/[0-9][0-9][0-9][0-9][0-9][0-9].pt", "profile/*_trace.json", "profile/training.md",
)
SCORED = (
    "robustness.json", "robustness.md", "samples.jsonl", "cells/*-*/*.npz", "attacks/*.pt", "pictures/*.png",
    "pictures/*.gif", "profile/evaluation.md",
)
ANALYSED = (
    "analysis/*.json",
    "analysis/*.png",
    "analysis/*.svg",
    "analysis/*.cells/**/*.json",
    "analysis/*.cells/**/*.npz",
)
FILMED = (
    "attack.json", "adversarial/**/*.mkv", "adversarial/**/*.mp4", "adversarial/**/*.gif", "adversarial/**/*.json",
    "attacks/*.pt", "pictures/*.png",
)
EVERYTHING = (*TRAINED, *SCORED, *ANALYSED, *FILMED)
# By these a training knows that its folder holds a run.
SIGNS = (
    "metrics.jsonl", "checkpoints/last.pt", "checkpoints/best.pt", "prerequisites", "robustness.json", "samples.jsonl",
    "cells", "attack.json", "adversarial", "analysis",
)
# fmt: on


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Be the one process that works in a run folder, for as long as a block; what dead ones left half written goes.

    Raises:
        AdvvidError: naming the process that works there.
    """
    remedy = "wait for it, stop it, or choose another hydra.run.dir"
    with locked(folder / LOCK, f"the run folder {folder}", wait=False, remedy=remedy):
        remove_abandoned(folder.rglob(".*.tmp"))
        yield


def make_room(cfg: DictConfig, folder: Path) -> None:
    """See that a run may begin in a folder: go on there, remove what another wrote (``overwrite=true``), or refuse.

    Evaluations and attacks go on by themselves: they compute what is missing.

    Args:
        cfg: of the run.
        folder: of the run.

    Raises:
        AdvvidError: naming what lies there, or what would be removed though the run needs it.
    """
    training = cfg.mode not in ("eval", "attack")
    if not cfg.overwrite:
        if training and not cfg.resume:
            _refuse_occupied(folder)
        return
    if cfg.resume:
        raise AdvvidError("resume=true goes on with a run and overwrite=true removes it: give one of them")
    written = (
        EVERYTHING if training else FILMED if cfg.mode == "attack" else ANALYSED if cfg.get("analysis") else SCORED
    )
    _refuse_needed(cfg, folder, written)
    if removed := remove_run(folder, written):
        log.info("removed %d files of an earlier run from %s", removed, folder)


def _refuse_needed(cfg: DictConfig, folder: Path, written: tuple[str, ...]) -> None:
    """Refuse to remove what an option names."""
    gone = {path.resolve() for pattern in written for path in folder.glob(pattern)}
    for option, value in _texts(OmegaConf.to_container(cfg, resolve=False)):
        place = user_path(value)
        with suppress(OSError, ValueError):
            # A folder means the weights or the examples in it.
            needed = [place, *place.glob("checkpoints/*.pt"), *place.glob("*.pt")] if place.exists() else []
            if any(path.resolve() in gone for path in needed):
                raise AdvvidError(
                    f"overwrite=true would remove what {option}={value} names: choose another hydra.run.dir, or leave "
                    "overwrite=true out"
                )


def _texts(value: Any, option: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of a configuration with its option."""
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(part, f"{option}.{key}".lstrip("."))
    elif isinstance(value, str) and value:
        yield option, value


def _refuse_occupied(folder: Path) -> None:
    found = next((name for name in SIGNS if os.path.lexists(folder / name)), None)
    if found is not None:
        raise AdvvidError(
            f"the folder {folder} holds a run already ({found}): add resume=true to go on with it, overwrite=true to "
            "remove what it wrote and begin anew, or choose another hydra.run.dir"
        )


def remove_run(folder: Path, written: tuple[str, ...] = EVERYTHING) -> int:
    """Remove what a run wrote into its folder, and nothing else; return the number of files.

    Links are removed, not what they lead to; folders go where they are empty then.

    Args:
        folder: of the run.
        written: patterns of its files.

    Raises:
        StorageError: if something cannot be removed.
    """
    removed, folders = 0, set()
    for path in {path for pattern in written for path in folder.glob(pattern)}:
        inside = [folder / part for part in reversed(path.relative_to(folder).parents)][1:]
        link = next((part for part in inside if part.is_symlink()), None)
        target = link or path
        if target.is_dir() and not target.is_symlink():
            continue
        try:
            target.unlink()
        except FileNotFoundError:
            continue  # below a link that has gone
        except OSError as error:
            raise storage_error(error, target) from None
        removed += 1
        folders |= set(inside) if link is None else set()
    for place in sorted(folders, key=lambda place: len(place.parts), reverse=True):
        with suppress(OSError):
            place.rmdir()
    return removed

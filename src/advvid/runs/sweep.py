"""The jobs of a sweep, from the ``multirun.yaml`` that Hydra leaves in its folder: which of them never began."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException

from advvid.core.errors import AdvvidError
from advvid.core.plain import read_yaml

NAME = "multirun.yaml"
# Of Hydra's own sweeper, whose jobs are all combinations; others choose as they go.
SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
SUBFOLDER = "${hydra.job.num}"
# The file may be a stranger's, who writes range(1000000000).
MOST = 10_000


def jobs(folder: Path) -> list[str]:
    """Return what each job of a sweep is told, in order; none where the folder is no sweep or its jobs cannot be told.

    Example:
        >>> jobs(Path("outputs/sweep/2026-01-31_12-00-00"))     # doctest: +SKIP
        ['attack.eps=4/255 seed=0', 'attack.eps=4/255 seed=1']
    """
    if not (folder / NAME).is_file():
        return []
    try:
        own = _below(read_yaml(folder / NAME), "hydra")
        told = _below(own, "overrides").get("task")
        if _below(own, "sweeper").get("_target_") != SWEEPER or _below(own, "sweep").get("subdir") != SUBFOLDER:
            return []
        if not isinstance(told, list) or not all(isinstance(text, str) for text in told):
            return []
        lists = [_values(override) for override in OverridesParser.create().parse_overrides(told)]
    except (AdvvidError, HydraException):
        return []
    every = itertools.islice(itertools.product(*lists), MOST + 1)
    swept = [i for i, values in enumerate(lists) if len(values) > 1]
    found = [" ".join(job[i] for i in swept or range(len(job))) for job in every]
    return found if len(found) <= MOST else []


def not_begun(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the folder of each job of a sweep that left nothing, with what it would have been told."""
    for number, told in enumerate(jobs(folder)):
        place = folder / str(number)
        if not any((place / name).exists() for name in ("robustness.json", ".hydra", "train.log")):
            yield place, told


def _values(override: Override) -> Sequence[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep() or override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        raise HydraException("the values of a glob are those of another machine")
    key = override.get_key_element()
    return [f"{key}={value}" for value in itertools.islice(override.sweep_string_iterator(), MOST + 1)]


def _below(node: Any, key: str) -> Mapping[str, Any]:
    found = node.get(key) if isinstance(node, Mapping) else None
    return found if isinstance(found, Mapping) else {}

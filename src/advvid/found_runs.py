"""Finds finished and failed runs below folders, and tells in which settings they differ."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from advvid.errors import AdvvidError

SCHEMA = 1
# Where a run is watched and how it was started does not change its numbers.
IGNORED = ("choices", "name", "mode", "resume", "tracker", "hydra")


@dataclass(frozen=True)
class FoundRun:
    """A run folder.

    Args:
        path: the folder.
        label: its short name, relative to what was searched.
        result: the content of ``robustness.json``; None where there is none.
        problem: why there is none.
        choices: the chosen option of each group, such as ``defense: cat``.
        settings: every value of the configuration, by dotted key.
    """

    path: Path
    label: str
    result: Mapping[str, Any] | None
    problem: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


def find_runs(folders: Sequence[Path]) -> list[FoundRun]:
    """Return every run below the folders, folder by folder, each in natural order.

    A folder within a run belongs to that run.

    Raises:
        AdvvidError: if a folder does not exist, or a table was written by another version.
    """
    for folder in folders:
        if not folder.is_dir():
            raise AdvvidError(f"there is no folder {folder}: give the folder of a run, of a sweep, or outputs/")
    base = Path(os.path.commonpath([folder.resolve() for folder in folders]))
    found = (sorted(_walk(folder.resolve()), key=lambda path: _natural(str(path))) for folder in folders)
    return [_read(path, base) for path in dict.fromkeys(path for paths in found for path in paths)]


def varied(runs: Sequence[FoundRun]) -> dict[str, list[str]]:
    """Return the settings in which runs differ, with a value per run ("" where a run has no such setting).

    A group with several choices is one setting (``defense``: at, cat). Keys inside it follow from the choice and are
    left out, unless they differ between runs of the same choices.
    """
    choices = sorted({group for run in runs for group in run.choices})
    values = {group: [run.choices.get(group, "") for run in runs] for group in choices}
    differing = {group: column for group, column in values.items() if len(set(column)) > 1}
    inside = tuple(group.replace("/", ".") + "." for group in differing)
    same = list(zip(*differing.values(), strict=True)) if differing else [()] * len(runs)
    found = dict(differing)
    for key in sorted({key for run in runs for key in run.settings}, key=_natural):
        column = [run.settings.get(key, "") for run in runs]
        # A key inside a group is compared within each combination of choices, any other key among all runs.
        context = same if f"{key}.".startswith(inside) else [()] * len(runs)
        pairs = set(zip(context, column, strict=True))
        if len(pairs) > len(set(context)):
            found[key] = column
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Yield run folders: what has a table, or a Hydra configuration without one."""
    if (folder / "robustness.json").is_file() or (folder / ".hydra" / "overrides.yaml").is_file():
        yield folder
        return
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith(".") and not child.is_symlink():
            yield from _walk(child)


def _natural(text: str) -> list[tuple[int, str]]:
    """A sort key by which 2 comes before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def _read(path: Path, base: Path) -> FoundRun:
    label = path.relative_to(base).as_posix() if path != base else path.name
    source = path / "robustness.json"
    if not source.is_file():
        return FoundRun(path, label, None, _no_table(path))
    try:
        result = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return FoundRun(path, label, None, f"robustness.json cannot be read ({error})")
    if not isinstance(result, dict) or result.get("schema") != SCHEMA:
        raise AdvvidError(f"{source} was not written by this version of advvid: evaluate the run again with mode=eval")
    config = result.get("config", {})
    chosen = {str(group): str(option) for group, option in config.get("choices", {}).items()}
    settings = dict(_flat({key: value for key, value in config.items() if key not in IGNORED}))
    # attack@suite.mim: the option of one place inside the configuration, so a setting like any other there.
    settings |= {group.split("@", 1)[1]: option for group, option in chosen.items() if "@" in group}
    plain = {g: o for g, o in chosen.items() if "@" not in g and g.split("/")[0] not in IGNORED}
    return FoundRun(path, label, result, "", plain, settings)


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, json.dumps(node) if isinstance(node, list | bool) or node is None else str(node)


def _no_table(path: Path) -> str:
    """Say what a run without a table was asked for, and how far it came."""
    said = ["no robustness.json"]
    try:
        overrides = OmegaConf.load(path / ".hydra" / "overrides.yaml")
        said.append(" ".join(str(item) for item in overrides) or "no overrides")
    except (OSError, YAMLError, OmegaConfBaseException):
        said.append("unknown overrides")
    log = path / "train.log"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "; ".join([*said, f"last words: {last[:160]}"] if last else said)

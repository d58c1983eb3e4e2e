"""Finds finished and failed runs below folders, and tells in which settings they differ."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from advvid.core.errors import AdvvidError
from advvid.core.escape import visible
from advvid.core.plain import opened, read_yaml
from advvid.evaluation.robustness import RobustnessTable
from advvid.evaluation.table_file import read_table
from advvid.runs.sweep import not_begun

# How much of the end of a log is looked at.
LOG_BYTES = 20_000
# Where a run is watched and how it was started does not change its numbers.
IGNORED = ("choices", "name", "mode", "resume", "tracker", "hydra")


@dataclass(frozen=True)
class FoundRun:
    """A run folder.

    Args:
        path: the folder.
        label: its short name, relative to what was searched.
        result: its table; None where there is none.
        problem: why there is none.
        choices: the chosen option of each group, such as ``defense: cat``.
        settings: every value of the configuration, by dotted key.
    """

    path: Path
    label: str
    result: RobustnessTable | None
    problem: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


def find_runs(folders: Sequence[Path]) -> list[FoundRun]:
    """Return every run below the folders, folder by folder, each in natural order.

    A folder within a run belongs to that run. Jobs of a sweep that left nothing come last, with what they were told.

    Raises:
        AdvvidError: if a folder does not exist. A table that cannot be read is told in its run's ``problem``.
    """
    for folder in folders:
        if not folder.is_dir():
            raise AdvvidError(f"there is no folder {folder}: give the folder of a run, of a sweep, or outputs/")
    base = Path(os.path.commonpath([folder.resolve() for folder in folders]))
    paths = dict.fromkeys(
        path for folder in folders for path in sorted(_walk(folder.resolve()), key=lambda path: _natural(str(path)))
    )
    sweeps = dict.fromkeys([*(folder.resolve() for folder in folders), *(path.parent for path in paths)])
    lost = [
        FoundRun(place, _label(place, base), None, visible(f"it never began; {told}"))
        for sweep in sweeps
        if sweep.is_relative_to(base)
        for place, told in not_begun(sweep)
    ]
    return [*(_read(path, base) for path in paths), *lost]


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
    waiting = [folder]
    while waiting:  # a folder of a stranger may be deeper than Python calls may be
        folder = waiting.pop()
        try:
            if (folder / "robustness.json").is_file() or (folder / ".hydra" / "overrides.yaml").is_file():
                yield folder
                continue
            inside = [c for c in folder.iterdir() if not c.name.startswith(".") and not c.is_symlink() and c.is_dir()]
        except OSError:  # which is told when it is read
            yield folder
            continue
        waiting += inside


def _natural(text: str) -> list[tuple[int, str]]:
    """A sort key by which 2 comes before 10."""
    parts = re.split(r"(\d+)", text)  # every other one is a number; Python refuses to read very long ones
    return [(int(part[-1000:]), "") if i % 2 else (-1, part) for i, part in enumerate(parts)]


def _label(path: Path, base: Path) -> str:
    return visible(path.relative_to(base).as_posix() if path != base else path.name)


def _read(path: Path, base: Path) -> FoundRun:
    label = _label(path, base)
    try:
        if not (path / "robustness.json").is_file():
            return FoundRun(path, label, None, _no_table(path))
        result = read_table(path / "robustness.json")
    except AdvvidError as error:
        return FoundRun(path, label, None, str(error))
    except OSError as error:
        return FoundRun(path, label, None, f"its folder cannot be read ({error.strerror})")
    config = result.config
    chosen: Mapping[str, str] = config.get("choices", {})
    settings = dict(_flat({key: value for key, value in config.items() if key not in IGNORED}))
    # attack@suite.mim: the option of one place inside the configuration, so a setting like any other there.
    settings |= {group.split("@", 1)[1]: option for group, option in chosen.items() if "@" in group}
    plain = {g: o for g, o in chosen.items() if "@" not in g and g.split("/")[0] not in IGNORED}
    name = settings.pop("dataset.name", "null")
    if name != "null":  # what the user calls the videos, rather than how they are found
        plain["dataset"] = visible(name)
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
        overrides = read_yaml(path / ".hydra" / "overrides.yaml")
        said.append(" ".join(map(str, overrides if isinstance(overrides, list) else [])) or "no overrides")
    except AdvvidError:
        said.append("unknown overrides")
    log = path / "train.log"
    lines: list[str] = []
    if log.is_file():
        with opened(log) as file:
            file.seek(max(0, log.stat().st_size - LOG_BYTES))
            lines = file.read(LOG_BYTES).decode("utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return visible("; ".join([*said, f"last words: {last[:160]}"] if last else said))

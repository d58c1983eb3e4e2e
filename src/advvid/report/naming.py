"""What runs are called in a report: by what they are, not by the folder in which they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advvid.core.errors import AdvvidError
from advvid.core.escape import all_visible, clipped
from advvid.core.plain import read_json
from advvid.runs.found_runs import FoundRun, varied

NONE = ("", "[]", "null", "None")
# Groups that a name tells of every run, and those that it tells where one was chosen.
ALWAYS, CHOSEN = ("dataset", "model", "defense"), ("purifier", "detector")
# Two runs of one name are told apart by so many settings at most, of so many letters each.
MOST_SETTINGS, MOST_LETTERS = 2, 24


def named(runs: Sequence[FoundRun], data: bool = True) -> list[str]:
    """Return a name per run: data set, network, defense and seed, and what else tells runs of one name apart.

    A run without a table, whose settings are not known, keeps its folder's name.

    Args:
        runs: of a report.
        data: whether the data set is part of the name.

    Example:
        >>> from advvid.evaluation.robustness import RobustnessTable
        >>> from advvid.evaluation.scores import Score
        >>> table = RobustnessTable(n=2, clean=Score(), seed=0)
        >>> run = FoundRun(Path("a"), "a", table, "", {"dataset": "motion", "model": "r3d_tiny", "defense": "cat"})
        >>> named([run]), named([run], data=False)
        (['motion, r3d_tiny, cat, seed 0'], ['r3d_tiny, cat, seed 0'])
    """
    names = [_name(run, data) for run in runs]
    for name in {name for name in names if names.count(name) > 1}:
        alike = [i for i, one in enumerate(names) if one == name and runs[i].result is not None]
        for i, more in zip(alike, _apart([runs[i] for i in alike]), strict=True):
            names[i] = ", ".join([name, *more])
    return names


def _name(run: FoundRun, data: bool) -> str:
    choices: Mapping[str, Any] = run.choices
    more: list[str] = []
    if run.result is None:  # an analysis alone keeps its configuration in its own file
        more, config = _analysis(run.path)
        choices, seed = config.get("choices", {}), config.get("seed")
    else:
        seed = run.result.seed
    groups = [*ALWAYS[not data :], *CHOSEN]
    chosen = [str(choices[group]) for group in groups if str(choices.get(group, "")) not in NONE]
    return ", ".join([*chosen, *([] if seed is None else [f"seed {seed}"]), *more]) if chosen else run.label


def _analysis(folder: Path) -> tuple[list[str], Mapping[str, Any]]:
    """Return the name of a folder's first analysis and its configuration; ([], {}) where there is none to be read."""
    for source in sorted((folder / "analysis").glob("*.json")):
        try:
            config = all_visible(read_json(source))["config"]
            if isinstance(config["choices"], Mapping):
                return [source.stem.replace("_", " ")], config
        except (AdvvidError, LookupError, OSError, TypeError):
            continue
    return [], {}


def _apart(runs: Sequence[FoundRun]) -> list[list[str]]:
    """Return for each run the first settings in which these differ, such as ``suite all``."""
    settings = {key: values for key, values in varied(runs).items() if key not in ("checkpoint", "seed")}
    kept = list(settings.items())[:MOST_SETTINGS]
    return [
        [f"{key} {clipped(values[i], MOST_LETTERS)}" for key, values in kept if values[i] not in NONE]
        for i in range(len(runs))
    ]

"""Where a run's numbers come from: its command, its configuration, what it cost, and the run that trained its model."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from advvid.core.errors import AdvvidError
from advvid.core.escape import visible
from advvid.core.paths import conf_dir
from advvid.core.plain import opened, parse_json, read_yaml
from advvid.core.progress import spoken
from advvid.evaluation.scores import Scores

PROGRAM = "python -m advvid.train"
# A line of metrics.jsonl is far shorter.
LAST_BYTES = 100_000
UNKNOWN = "unknown: the folder holds no .hydra/overrides.yaml"


def command_of(folder: Path) -> str:
    """Return the command line that made a run folder, or say that it is unknown.

    Example:
        >>> command_of(Path("nowhere"))
        'unknown: the folder holds no .hydra/overrides.yaml'
    """
    # Quotes around a plain name are Hydra's, and would have to be quoted once more for a shell.
    task = _loaded(folder / ".hydra" / "overrides.yaml")
    if not isinstance(task, list):
        return UNKNOWN
    given: Any = _loaded(folder / ".hydra" / "hydra.yaml")
    for key in ("hydra", "overrides", "hydra"):
        given = given.get(key) if isinstance(given, dict) else None
    own = [item for item in given or () if str(item).startswith("hydra.run.dir=")] if isinstance(given, list) else []
    words = (re.sub(r"^([\w./@+~]+)='([\w./-]+)'$", r"\1=\2", str(item)) for item in (*task, *own))
    return visible(local(" ".join([PROGRAM, *map(shlex.quote, words)])))


def local(text: str) -> str:
    """Return text with the paths below the working directory taken from there: a report is read on other machines."""
    return text.replace(f"{Path.cwd()}/", "")


def config_text(config: Mapping[str, Any]) -> str:
    """Return a configuration as YAML, in the order in which it was written."""
    return local(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=110))


def settings_text(table: Scores) -> str:
    """Return the settings of every column as YAML, ``name: {class: ..., eps: ...}``."""
    kept = {name: dict(score.settings) for name, score in table.columns.items() if score.settings}
    return local(yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=110)) if kept else ""


def is_embedded(dataset: str) -> bool:
    """Tell whether a data set comes with the package, so that its numbers are at demo scale."""
    source = conf_dir() / "dataset" / f"{dataset}.yaml"
    return source.is_file() and source.read_text(encoding="utf-8").startswith("# Embedded")


def scale_of(table: Scores) -> str:
    """Return ``demo`` for a result on embedded data, ``full`` otherwise."""
    return "demo" if is_embedded(str(table.config.get("choices", {}).get("dataset", ""))) else "full"


def trained_in(config: Mapping[str, Any]) -> Path | None:
    """Return the run folder whose model an evaluation scored, where it can still be found."""
    given = config.get("checkpoint")
    if not given:
        return None
    path = Path(str(given))
    folder = path.parent.parent if path.suffix == ".pt" else path
    try:
        return folder if folder.is_dir() else None
    except (OSError, ValueError):  # no path at all: too long, or with a null
        return None


def training_cost(folder: Path) -> str:
    """Say how many epochs and forward-backward passes a run folder's training took; "" where it trained nothing."""
    try:
        with opened(folder / "metrics.jsonl") as file:
            file.seek(max(0, file.seek(0, 2) - LAST_BYTES))
            last = parse_json(file.read(LAST_BYTES).decode("utf-8", "replace").splitlines()[-1], "metrics.jsonl")
        epochs, passes = int(last["epoch"]), last.get("total_passes")
        counted = f", {float(passes):,.0f} forward-backward passes of a clip" if passes is not None else ""
    except (AdvvidError, OSError, ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError):
        return ""
    return f"{epochs} epoch{'' if epochs == 1 else 's'}{counted}"


def attack_cost(table: Scores) -> str:
    """Say what the attacks of a table cost; "" where nothing was written down."""
    seconds = [score.seconds for score in table.columns.values() if score.seconds is not None]
    calls = [score.gradient_calls for score in table.columns.values() if score.gradient_calls is not None]
    said = [f"{spoken(sum(seconds))} of attacks"] if seconds else []
    said += [f"{sum(calls):,} gradients of a clip"] if calls else []
    return ", ".join(said)


def versions_text(table: Scores) -> str:
    """Return the versions that a result was computed with, in one line."""
    return ", ".join(f"{name} {version}" for name, version in table.versions.items())


def _loaded(path: Path) -> Any:
    """Read YAML without resolving anything; None where that fails."""
    try:
        return read_yaml(path)
    except AdvvidError:
        return None

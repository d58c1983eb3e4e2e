"""What a table has to say of how its numbers came about, read from the settings that their evaluations hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from advvid.core.plain import read_json
from advvid.evaluation.robustness import JSON
from advvid.studies.plan import Target

SPLITS = {"validation": "the validation split", "train": "the training split"}


def remarks(target: Target, folders: Mapping[tuple[str, str], Path]) -> str:
    """Return a sentence for each thing that rows of a table have in common.

    Told are the split that the probabilities of adaptive training are measured on (Kinfu & Vidal, eq. 8), and what stands in
    for a purifier in the backward pass.

    Args:
        target: the table.
        folders: of the finished evaluations, by training and evaluation.
    """
    found: dict[str, list[str]] = {}
    for row, cells in target.cells.items():
        for pair in dict.fromkeys((cell.run, cell.score) for cell in cells.values()):
            for sentence in _of(_config(folders.get(pair))):
                rows = found.setdefault(sentence, [])
                rows += [row] if row not in rows else []
    return " ".join(f"{sentence} ({', '.join(rows)})." for sentence, rows in found.items())


def _of(config: Mapping[str, Any]) -> Iterator[str]:
    defense = config.get("defense") or {}
    source = defense.get("probabilities_on") or (defense.get("adversary") or {}).get("probabilities_on")
    if source:
        yield f"Attacks of training are drawn by the losses that they cause on {SPLITS[source]}"
    for name, purifier in (config.get("purifier") or {}).items():
        if isinstance(purifier, Mapping) and "surrogate" in purifier:
            yield f"Attacks see {name} {_way(purifier['surrogate'])}"


def _way(surrogate: Mapping[str, Any] | None) -> str:
    if surrogate is None:
        return "straight through, as if it changed nothing"
    kind = str(surrogate["_target_"]).rsplit(".", 1)[-1]
    settings = ", ".join(f"{key} {value}" for key, value in surrogate.items() if key != "_target_")
    return f"through the stand-in {kind}" + (f" of {settings}" if settings else "")


def _config(folder: Path | None) -> Mapping[str, Any]:
    file = folder / JSON if folder else None
    return read_json(file).get("config", {}) if file and file.is_file() else {}

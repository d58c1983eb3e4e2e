"""What a table has to say of how its numbers came about, read from the settings that their evaluations hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from advvid.core.errors import AdvvidError
from advvid.core.plain import read_json
from advvid.evaluation.robustness import JSON
from advvid.studies.plan import Target

# As ``advvid.threats.base.budget_at`` writes it.
SIZE = re.compile(r"\(at ([\d x]+): ([^)]*)\)")
SPLITS = {"validation": "the validation split", "train": "the training split"}


def remarks(target: Target, folders: Mapping[tuple[str, str], Path]) -> str:
    """Return a sentence for each thing that rows of a table have in common.

    Told are the split that the probabilities of adaptive training are measured on (Kinfu & Vidal, eq. 8), what stands in for a
    purifier in the backward pass, and how large budgets truly are at the size of the clips.

    Args:
        target: the table.
        folders: of the finished evaluations, by training and evaluation.
    """
    found: dict[str, list[str]] = {}
    sizes: dict[str, list[str]] = {}
    tables = {pair: _table(folder) for pair, folder in folders.items()}
    for row, cells in target.cells.items():
        for pair in dict.fromkeys((cell.run, cell.score) for cell in cells.values()):
            for sentence in _of(tables.get(pair, {}).get("config", {})):
                rows = found.setdefault(sentence, [])
                rows += [row] if row not in rows else []
        for cell in cells.values():
            for name in cell.options.get("over", [cell.column]):
                for place, size in SIZE.findall(_budget(tables.get((cell.run, cell.score), {}), name)):
                    told = sizes.setdefault(place, [])
                    told += [text] if (text := f"{name} {size}") not in told else []
    said = [f"{sentence} ({', '.join(rows)})." for sentence, rows in found.items()]
    return " ".join([*said, *(f"At {place}: {'; '.join(told)}." for place, told in sizes.items())])


def _budget(table: Mapping[str, Any], column: str) -> str:
    scores = {**table.get("controls", {}), **table.get("extra", {}), **table.get("attacks", {})}
    return str(scores.get(column, {}).get("budget", ""))


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


def _table(folder: Path) -> Mapping[str, Any]:
    file = folder / JSON
    try:
        return read_json(file) if file.is_file() else {}
    except AdvvidError:  # its cells say that it is damaged
        return {}

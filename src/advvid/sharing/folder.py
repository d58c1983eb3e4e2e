"""What can be said of an exported folder without attacking anything: its files, its table, its records and its card agree."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from advvid.core import exported
from advvid.core.errors import AdvvidError
from advvid.core.escape import all_visible, visible
from advvid.core.plain import MOST_BYTES as MOST_JSON
from advvid.core.plain import MOST_LINES_BYTES as MOST_LINES
from advvid.core.plain import read_json, read_text
from advvid.evaluation.robustness import JSON, SAMPLES, RobustnessTable
from advvid.evaluation.suite import suite_types
from advvid.evaluation.table_file import read_table
from advvid.evaluation.tally import Samples, read_samples, summarise
from advvid.sharing.card import CARD, same_numbers
from advvid.sharing.claim import CLAIM, Claim, read_claim, sha256, unions_of
from advvid.sharing.export import SUMS, without_places

EXPORTED = (CARD, CLAIM, exported.CONFIG, exported.WEIGHTS, JSON, SAMPLES)
# Parts of a configuration that are read before anything holds them against a schema.
PARTS = ("suite", "runtime", "purifier", "detector")
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
MOST_BYTES = 1_000_000
# Above these bytes a file is not even hashed.
LARGEST = {
    CARD: MOST_BYTES,
    SUMS: MOST_BYTES,
    CLAIM: MOST_JSON,
    exported.CONFIG: MOST_JSON,
    JSON: MOST_JSON,
    SAMPLES: MOST_LINES,
}


@dataclass(frozen=True)
class Finding:
    """One thing that was compared.

    Args:
        name: of what, such as ``weights``.
        same: whether it is as claimed.
        said: in words, with what differs.
    """

    name: str
    same: bool
    said: str


@dataclass(frozen=True)
class Folder:
    """An exported folder as it was read.

    Args:
        place: where it lies.
        claim: of its owner.
        table: of its ``robustness.json``.
        samples: its records, one per clip.
    """

    place: Path
    claim: Claim
    table: RobustnessTable
    samples: Samples


def read_folder(place: Path) -> Folder:
    """Read an exported folder; nothing in it is executed, and nothing outside it is read.

    Raises:
        AdvvidError: if a file is missing, is a link, is huge, or has another form.
    """
    if not place.is_dir():
        raise AdvvidError(f"there is no folder {place}: give one that advvid export wrote")
    for name in (*EXPORTED, SUMS):
        if (place / name).is_symlink() or not (place / name).is_file():
            raise AdvvidError(
                f"{place} has no file {name} of its own: give a folder that advvid export wrote, as a whole"
            )
        if (place / name).stat().st_size > LARGEST.get(name, sys.maxsize):
            raise AdvvidError(
                f"{place / name} has more bytes than advvid export writes: take another copy of the folder"
            )
    table = read_table(place / JSON)
    for part in PARTS:
        if not isinstance(table.config.get(part) or {}, Mapping):
            raise AdvvidError(f"{place / JSON} is malformed (config.{part}): take another copy of it")
    return Folder(place, read_claim(place / CLAIM), table, read_samples(place / SAMPLES))


def findings(folder: Folder) -> list[Finding]:
    """Compare what lies in a folder with what it says of itself."""
    own = {name: sha256(folder.place / name) for name in EXPORTED}
    return [_files(folder, own), _weights(folder, own[exported.WEIGHTS]), _records(folder), _card(folder)]


def _files(folder: Folder, own: Mapping[str, str]) -> Finding:
    listed = sums(folder.place / SUMS)
    odd = [f"{name} is not listed in {SUMS}" for name in EXPORTED if name not in listed]
    for source, told in ((SUMS, listed), (CLAIM, folder.claim.files)):
        odd += [
            f"{name} is another file than {source} says"
            for name in EXPORTED
            if name in told and own[name] != told[name]
        ]
    return Finding("files", not odd, "; ".join(odd) or f"SHA-256 of {len(listed)} files as listed")


def _weights(folder: Folder, own: str) -> Finding:
    same = own == folder.claim.weights
    return Finding(
        "weights", same, f"SHA-256 {own[:16]}...{'' if same else f', claimed is {folder.claim.weights[:16]}...'}"
    )


def _records(folder: Folder) -> Finding:
    """Hold both tables against what the records of the clips give."""
    table, claim = folder.table, folder.claim
    try:
        columns = (list(table.attacks), list(table.controls), list(table.extra))
        types = suite_types(OmegaConf.create(table.config.get("suite") or {}), list(table.columns))
        again = summarise(folder.samples, *columns, types)
        unions = unions_of(table, folder.samples)
    except AdvvidError as error:
        return Finding("table", False, f"{SAMPLES} does not hold the columns of {JSON} ({error})")
    found = {name: entry for name, entry in again.items() if name in RobustnessTable.SINGLE}
    for section in RobustnessTable.SECTIONS:
        found |= again.get(section, {})
    odd = [] if _config(folder.place) == table.config else [f"{JSON} has another configuration than {exported.CONFIG}"]
    odd += [f"n is {told.n}" for told in (table, claim.table) if told.n != len(folder.samples)]
    for source, told in ((JSON, table), (CLAIM, claim.table)):
        own = {
            **{name: score for name in told.SINGLE if (score := getattr(told, name)) is not None},
            **told.columns,
            **told.types,
        }
        odd += [f"{source} lacks or adds {visible(name)}" for name in sorted(found.keys() ^ own.keys())]
        for name in sorted(found.keys() & own.keys()):
            acc, interval = found[name].get("acc"), found[name].get("ci95")
            if own[name].acc != acc or list(own[name].ci95 or ()) != list(interval or ()):
                odd.append(f"{source} says {own[name].said} of {visible(name)}, the clips give {_percent(acc)}")
        if limits(told) != limits(table):
            odd.append(f"{source} states other attacks or budgets than {JSON}")
    if {kind: score["acc"] for kind, score in unions.items()} != {k: s["acc"] for k, s in claim.unions.items()}:
        odd.append(f"{CLAIM} gives other unions than the clips do")
    return Finding(
        "table", not odd, "; ".join(odd[:5]) or f"every accuracy follows from the {len(folder.samples)} records"
    )


def _card(folder: Folder) -> Finding:
    same = same_numbers(read_text(folder.place / CARD, MOST_BYTES), folder.claim)
    return Finding(
        "card", same, f"{CARD} shows {'the' if same else 'other'} numbers {'of' if same else 'than'} {CLAIM}"
    )


def sums(path: Path) -> dict[str, str]:
    """Return the digests of a file as ``sha256sum`` writes them, by name.

    Raises:
        AdvvidError: for anything else, or a name that is a path.
    """
    found: dict[str, str] = {}
    for line in read_text(path, MOST_BYTES).splitlines():
        match = LINE.fullmatch(line)
        if match is None or match[2] not in EXPORTED:
            raise AdvvidError(
                f"{path} has the line {ascii(line)[:80]}, which advvid export does not write: take another copy"
            )
        found[match[2]] = match[1]
    return found


def _config(place: Path) -> Any:
    told = read_json(place / exported.CONFIG)
    return all_visible(told.get("config")) if isinstance(told, dict) else None


def limits(table: RobustnessTable) -> dict[str, Any]:
    """Return what each attack was allowed and how it searched."""
    told = {name: [s.budget, s.threat, s.access, dict(s.settings)] for name, s in table.columns.items()}
    plain: dict[str, Any] = without_places(told)
    return plain


def _percent(acc: float | None) -> str:
    return "no accuracy" if acc is None else f"{100 * acc:.1f}"

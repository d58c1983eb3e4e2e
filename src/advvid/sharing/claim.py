"""A claim: a table, the digest of the weights and of the clips that it was measured on, and how to measure it again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from advvid.core.errors import AdvvidError
from advvid.core.escape import all_visible
from advvid.core.plain import opened, read_json
from advvid.evaluation.robustness import RobustnessTable
from advvid.evaluation.table_file import table_of
from advvid.evaluation.tally import Samples, has_verdicts, proportion, verdicts

CLAIM = "claim.json"
FORM = 1
SHA256 = re.compile(r"[0-9a-f]{64}")
# The groups that tell a reader what was measured.
TOLD = ("model", "defense", "dataset", "suite", "purifier", "detector")
ALL = "all threats"


@dataclass(frozen=True)
class Claim:
    """What somebody says that a model withstands.

    Args:
        name: of the model.
        parts: the chosen option of the groups that a reader wants to know.
        weights: SHA-256 of the file of weights.
        clips: digest of the scored clips, see ``advvid.data.content``.
        table: of the run, without its configuration.
        unions: right on clean and under every attack of one threat and budget, by these; ``all threats`` is the table's own.
        command: measures it again.
        made_by: the command that made it; empty where it is not known.
        files: SHA-256 of each file of the folder, by name.
    """

    name: str
    parts: Mapping[str, str]
    weights: str
    clips: str
    table: RobustnessTable
    unions: Mapping[str, Mapping[str, Any]]
    command: str
    made_by: str
    files: Mapping[str, str]

    def plain(self) -> dict[str, Any]:
        """Return the content of ``claim.json``."""
        return {
            "advvid_claim": FORM,
            "name": self.name,
            "parts": dict(self.parts),
            "weights": self.weights,
            "clips": self.clips,
            "command": self.command,
            "made_by": self.made_by,
            "unions": {name: dict(score) for name, score in self.unions.items()},
            "files": dict(self.files),
            "table": self.table.plain(),
        }


def read_claim(path: Path) -> Claim:
    """Return the claim of a file that somebody else may have written.

    Raises:
        AdvvidError: if it cannot be read, or has another form.
    """
    content = all_visible(read_json(path))
    if not isinstance(content, dict) or content.get("advvid_claim") != FORM:
        raise AdvvidError(f"{path} holds no claim: give one that advvid export wrote")
    texts = {name: content.get(name) for name in ("name", "weights", "clips", "command", "made_by")}
    named = {name: content.get(name) for name in ("parts", "files")}
    odd = [name for name, value in texts.items() if not isinstance(value, str)]
    odd += [name for name, value in named.items() if not _of_texts(value)]
    odd += [name for name in ("unions",) if not isinstance(content.get(name), dict)]
    if odd or not SHA256.fullmatch(texts["weights"] or ""):
        raise AdvvidError(f"{path} is malformed ({(odd or ['weights'])[0]}): take another copy of it")
    # A union has the form of any other score of a table.
    told = table_of({**_mapping(content.get("table")), "types": content["unions"]}, f"the table of {path.name}")
    unions = {name: {"acc": score.acc, "ci95": list(score.ci95 or ())} for name, score in told.types.items()}
    table = table_of(content.get("table"), f"the table of {path.name}")
    if not unions or any(score["acc"] is None for score in unions.values()):
        raise AdvvidError(f"{path} is malformed (unions): take another copy of it")
    return Claim(table=table, unions=unions, **texts, **named)  # type: ignore[arg-type]


def unions_of(table: RobustnessTable, samples: Samples) -> dict[str, dict[str, Any]]:
    """Return the union over all attacks, and over those of each threat and budget.

    Example:
        >>> samples = [{"id": "a", "label": 1, "clean": 1, "attacks": {"pgd": {"pred": 0}}}]
        >>> scores = {"pgd": ColumnScore(0.0, (0, 1), budget="l-inf 8/255")}
        >>> unions_of(RobustnessTable(n=1, clean=Score(1.0, (0, 1)), attacks=scores), samples)["l-inf 8/255"]["acc"]
        0.0
    """
    if not has_verdicts(samples):
        return {}
    right = verdicts(samples, table.attacks)
    kinds: dict[str, list[str]] = {ALL: list(table.attacks)}
    for name, score in table.attacks.items():
        kinds.setdefault(score.budget or score.threat or name, []).append(name)
    return {
        kind: proportion(np.logical_and.reduce([right["clean"], *(right[name] for name in names)]))
        for kind, names in kinds.items()
    }


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, as ``sha256sum`` prints it.

    Raises:
        AdvvidError: if it cannot be read, or is no regular file.
    """
    try:
        with opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AdvvidError(f"{path} cannot be read ({error.strerror}): check the folder") from None


def told_parts(choices: Mapping[str, str]) -> dict[str, str]:
    """Return the choices of groups that a reader wants to know."""
    return {group: choices[group] for group in TOLD if choices.get(group, "[]") not in ("[]", "null")}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _of_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())

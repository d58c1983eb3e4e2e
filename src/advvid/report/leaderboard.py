"""A static page that orders claims of many models, see ``advvid.sharing``: by union, by threat, re-attacked or not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advvid.core.errors import AdvvidError
from advvid.core.escape import all_visible, visible
from advvid.core.plain import read_json
from advvid.evaluation.scores import Score
from advvid.report.rendering import rendered
from advvid.sharing.claim import ALL, CLAIM, Claim, read_claim, sha256
from advvid.sharing.verify import RESULT

# A folder of strangers is walked so far.
MOST_FOLDERS = 10_000


@dataclass(frozen=True)
class Entry:
    """A claim with what was found when it was attacked again.

    Args:
        claim: as it was read.
        digest: SHA-256 of its file.
        attacked: clips that a verification attacked again; 0 for none.
        same: whether all verifications found it as claimed; None where there is none.
    """

    claim: Claim
    digest: str
    attacked: int = 0
    same: bool | None = None

    def score(self, threat: str) -> Score:
        """Return the union under a threat."""
        found = self.claim.unions[threat]
        return Score(found["acc"], tuple(found["ci95"]))

    @property
    def verdict(self) -> str:
        """Whether the model was attacked again, in words."""
        if self.same is None:
            return "no"
        if not self.same:
            return "differs"
        return f"yes, {self.attacked} of {self.claim.table.n} clips" if self.attacked else "files only"

    @property
    def attacks(self) -> str:
        """The columns behind the union."""
        return ", ".join(self.claim.table.attacks)


@dataclass(frozen=True)
class Board:
    """All claims on the same clips.

    Args:
        dataset: name of the data set.
        clips: digest of the clips.
        n: number of clips.
        threats: entries by threat, best union first; that of all threats first.
    """

    dataset: str
    clips: str
    n: int | str
    threats: Mapping[str, Sequence[Entry]]


def boards(folders: Sequence[Path]) -> tuple[list[Board], dict[str, str]]:
    """Return the claims below folders, those on the same clips together, and why others could not be read, by their place.

    Files named ``claim.json``, ``*.claim.json``, ``verification.json`` and ``*.verification.json`` are read; links are not
    followed.

    Raises:
        AdvvidError: if a folder does not exist, or holds no claim.
    """
    claims: dict[str, Claim] = {}
    checks: list[Mapping[str, Any]] = []
    problems: dict[str, str] = {}
    for path in _files(folders):
        try:
            if path.name.endswith(CLAIM):
                claim = read_claim(path)  # first, since it refuses a file without end
                claims.setdefault(sha256(path), claim)
            else:
                checks.append(_verification(path))
        except AdvvidError as error:
            problems[visible(str(path))] = str(error)
    if not claims and not problems:
        raise AdvvidError(f"no claim lies below {', '.join(map(str, folders))}: give folders that advvid export wrote")
    groups: dict[tuple[str, str], list[Entry]] = {}
    for digest, claim in claims.items():
        about = [check for check in checks if check["claim"] == digest]
        same = all(check["same"] for check in about) if about else None
        entry = Entry(claim, digest, max((check["attacked"] for check in about), default=0), same)
        groups.setdefault((claim.parts.get("dataset", "unknown"), claim.clips), []).append(entry)
    return [_board(*key, entries) for key, entries in sorted(groups.items())], problems


def _board(dataset: str, clips: str, entries: Sequence[Entry]) -> Board:
    names = sorted({name for entry in entries for name in entry.claim.unions}, key=lambda name: (name != ALL, name))
    threats = {
        name: sorted(
            (entry for entry in entries if name in entry.claim.unions),
            # Of equal unions that with the higher clean accuracy first.
            key=lambda e, name=name: (-(e.score(name).acc or 0), -(e.claim.table.clean.acc or 0), e.claim.name),  # type: ignore[misc]
        )
        for name in names
    }
    return Board(dataset, clips, entries[0].claim.table.n, threats)


def _files(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        if not folder.is_dir():
            raise AdvvidError(f"there is no folder {folder}: give one with folders that advvid export wrote")
        for count, (place, inside, names) in enumerate(os.walk(folder)):
            if count > MOST_FOLDERS:
                raise AdvvidError(f"{folder} holds more than {MOST_FOLDERS} folders: give one that holds claims only")
            inside.sort()
            for name in sorted(names):
                path = Path(place) / name
                known = any(name == kind or name.endswith(f".{kind}") for kind in (CLAIM, RESULT))
                if known and not path.is_symlink():
                    yield path


def _verification(path: Path) -> Mapping[str, Any]:
    told = all_visible(read_json(path))
    fits = (
        isinstance(told, dict)
        and isinstance(told.get("claim"), str)
        and isinstance(told.get("same"), bool)
        and isinstance(told.get("attacked"), int)
    )
    if not fits:
        raise AdvvidError(f"{path} is no result of advvid verify: take another copy of it")
    return dict(told)


def leaderboard(folders: Sequence[Path], title: str) -> tuple[str, int]:
    """Return the page of all claims below folders as HTML that loads nothing, and the number of claims.

    Raises:
        AdvvidError: as ``boards`` does.

    Example:
        >>> page, count = leaderboard([Path("claims")], "Robust video classifiers")         # doctest: +SKIP
    """
    found, problems = boards(folders)
    count = len({entry.digest for board in found for entries in board.threats.values() for entry in entries})
    return rendered("leaderboard.html", title, boards=found, problems=problems), count

"""Whether the rows of a table were scored on the same clips, told where they were not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from advvid.core import digests
from advvid.core.identity import ABSENT, flat, shown
from advvid.core.option_parts import part_of

# The groups of a configuration, and the parts of an identity, that say which clips are scored and how they are cut.
GROUPS = ("dataset", "evaluation")
PARTS = ("data", "view", "test_clips")
# Of these the other splits alone depend.
ELSEWHERE = ("dataset.limit_train", "dataset.limit_val", "dataset.flip", "dataset.shift", "dataset.scale")
MOST_NAMES = 6


class Evaluated(Protocol):
    """What says which clips were scored: the table of a run."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Digests of what the numbers rest on; ``clips`` is that of the clips."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Of the run, as plain values."""


def clip_notes(runs: Sequence[tuple[str, Evaluated]]) -> list[str]:
    """Return what a reader must know of the clips behind the rows of a table, a sentence each.

    Args:
        runs: pairs of a label and a table.

    Example:
        >>> from types import SimpleNamespace as Table
        >>> first, second = Table(identity={"clips": "1"}, config={}), Table(identity={"clips": "2"}, config={})
        >>> for note in clip_notes([("a", first), ("b", second)]):
        ...     print(note)
        Not scored on the same clips: a; b (the content of the videos differs). Differences of these rows may be the clips'.
    """
    known: dict[str, list[int]] = {}
    silent: dict[str, list[int]] = {}
    settings = [_settings(table.config) for _, table in runs]
    for number, (_, table) in enumerate(runs):
        clips = table.identity.get("clips") if isinstance(table.identity, Mapping) else None
        if isinstance(clips, str):
            known.setdefault(clips, []).append(number)
        else:  # at least how its clips were chosen is known
            silent.setdefault(digests.of_values(settings[number]), []).append(number)
    labels = [label for label, _ in runs]
    notes = [_different(list(sets.values()), labels, settings) for sets in (known, silent) if len(sets) > 1]
    if silent and len(runs) > 1:
        who = _names([labels[number] for own in silent.values() for number in own])
        notes.append(
            f"{who}: written by an older version, which did not say what the scored clips hold; the same clips are "
            "assumed where the settings are the same."
        )
    return notes


def _different(sets: Sequence[Sequence[int]], labels: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> str:
    """Name the rows of each set of clips, with the settings by which they differ."""
    first = [settings[own[0]] for own in sets]
    options = sorted({option for found in first for option in found})
    differing = [o for o in options if len({str(found.get(o, ABSENT)) for found in first}) > 1]
    said = []
    for own, found in zip(sets, first, strict=True):
        values = ", ".join(f"{option}={shown(found.get(option, ABSENT))}" for option in differing)
        said.append(_names([labels[number] for number in own]) + (f" ({values})" if values else ""))
    why = "" if differing else " (the content of the videos differs)"
    return f"Not scored on the same clips: {'; '.join(said)}{why}. Differences of these rows may be the clips'."


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that choose and cut the clips that are scored, as they stand in the run's configuration."""
    found: dict[str, Any] = {}
    for group in GROUPS if isinstance(config, Mapping) else ():
        for option, value in flat(config.get(group), group):
            if part_of(option) in PARTS and option not in ELSEWHERE:
                found[option] = digests.canonical(value)
    return found


def _names(labels: Sequence[str]) -> str:
    more = len(labels) - MOST_NAMES
    return ", ".join(labels[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")

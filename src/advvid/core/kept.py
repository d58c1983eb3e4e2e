"""What is finished of a long piece of work, kept with what it rests on, so that a kill does not lose it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advvid.core import digests, files

FOLDER = "finished"


class Kept:
    """Finished parts of a work in ``<folder>/finished/<key>/``: a JSON file for what was finished together.

    A part counts while the files that it names are still what they were. Parts of another key go: their files are about to
    be written over.

    Args:
        root: the run folder, to which names of files are relative.
        folder: where the parts are kept, below it.
        key: a digest of everything that all parts rest on.

    Example:
        >>> kept = Kept(run_dir, run_dir / "adversarial", key)                       # doctest: +SKIP
        >>> kept.add({"1f0c": {"id": "a", "film": "adversarial/a.mkv"}}, ["adversarial/a.mkv"])     # doctest: +SKIP
        >>> kept.known["1f0c"]["id"]                                                 # doctest: +SKIP
        'a'
    """

    def __init__(self, root: Path, folder: Path, key: str) -> None:
        self.root, self.folder = root, folder / FOLDER / key[:32]
        self.known: dict[str, Any] = {}
        self.others: list[dict[str, Any]] = []  # what was added beside the parts, in order
        for stale in (folder / FOLDER).glob("*"):
            if stale != self.folder:
                shutil.rmtree(stale, ignore_errors=True)
        for path in sorted(self.folder.glob("*.json")):
            if (found := self._sound(path)) is not None:
                self.known |= found["parts"]
                self.others.append(found["also"])
            else:
                path.unlink()

    def add(self, parts: Mapping[str, Any], made: Sequence[str], also: Mapping[str, Any] | None = None) -> None:
        """Keep parts that were finished together.

        Args:
            parts: plain values by the digest of what each rests on.
            made: the files that belong to them, relative to ``root``; they are there.
            also: plain values that belong to all of them.
        """
        sums = {name: digests.of_content(self.root / name) for name in made}
        number = len(list(self.folder.glob("*.json")))
        name = f"{number:06d}-{digests.of_values(*parts)[:16]}.json"
        files.write_json(self.folder / name, {"parts": dict(parts), "files": sums, "also": dict(also or {})})
        self.known |= parts
        self.others.append(dict(also or {}))

    def drop(self) -> None:
        """Forget everything: it was found to be void."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.known, self.others = {}, []

    def _sound(self, path: Path) -> dict[str, Any] | None:
        """Return what a file keeps; None where it is damaged, or a file that it names is no longer what it was."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            good = all(digests.of_content(self.root / name) == known for name, known in found["files"].items())
            return found if good and isinstance(found["parts"], dict) and isinstance(found["also"], dict) else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

"""Where curves, tables and pictures go besides the run folder: what every tracker does, and the one that does nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Tracker(Protocol):
    """What a run tells its tracker. ``start`` comes first, ``finish`` last.

    The files of the run folder hold everything that a tracker is told, so that a run may do without one. With
    several processes only the first one has a tracker; the others use ``NoTracker``.
    """

    def start(self, run_dir: Path, config: Mapping[str, Any], name: str) -> None:
        """Open the record of a run."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Add a point to each curve; ``step`` never falls."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Add a table, such as the robustness table."""

    def image(self, name: str, path: Path) -> None:
        """Add a picture file."""

    def video(self, name: str, path: Path) -> None:
        """Add a short film, an MP4 or GIF file; who sets ``videos`` is given one of each column."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set the final values of the run."""

    def artifact(self, kind: str, paths: Sequence[Path]) -> None:
        """Add files of a kind, such as checkpoints; they stay where they are."""

    def finish(self) -> None:
        """Close the record and write what is pending."""


class NoTracker:
    """Keeps no record (``tracker=none``)."""

    def start(self, run_dir: Path, config: Mapping[str, Any], name: str) -> None:
        """Do nothing."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Do nothing."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Do nothing."""

    def image(self, name: str, path: Path) -> None:
        """Do nothing."""

    def video(self, name: str, path: Path) -> None:
        """Do nothing."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Do nothing."""

    def artifact(self, kind: str, paths: Sequence[Path]) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


@dataclass(kw_only=True)
class SeveralTrackers:
    """Tells several trackers the same (``tracker=[wandb,csv]``).

    Args:
        of: the trackers by name.
    """

    of: Mapping[str, Tracker]

    def start(self, run_dir: Path, config: Mapping[str, Any], name: str) -> None:
        """Open the record of each."""
        for tracker in self.of.values():
            tracker.start(run_dir, config, name)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Add a point to each curve of each."""
        for tracker in self.of.values():
            tracker.log(metrics, step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Add a table to each."""
        for tracker in self.of.values():
            tracker.table(name, columns, rows)

    def image(self, name: str, path: Path) -> None:
        """Add a picture to each."""
        for tracker in self.of.values():
            tracker.image(name, path)

    @property
    def videos(self) -> bool:
        """Whether one of them wants films."""
        return any(getattr(tracker, "videos", False) for tracker in self.of.values())

    def video(self, name: str, path: Path) -> None:
        """Add a film to each."""
        for tracker in self.of.values():
            tracker.video(name, path)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set the final values in each."""
        for tracker in self.of.values():
            tracker.summary(values)

    def artifact(self, kind: str, paths: Sequence[Path]) -> None:
        """Add files to each."""
        for tracker in self.of.values():
            tracker.artifact(kind, paths)

    def finish(self) -> None:
        """Close each."""
        for tracker in self.of.values():
            tracker.finish()

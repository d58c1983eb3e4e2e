"""Where curves, tables and pictures go besides the run folder: Weights & Biases, or nowhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from advvid.core import files
from advvid.core.allowed import check_fields
from advvid.core.errors import AdvvidError

if TYPE_CHECKING:
    from wandb import Run


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

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set the final values of the run."""

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

    def summary(self, values: Mapping[str, Any]) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


@dataclass
class WandbTracker:
    """Keeps the record with Weights & Biases, in ``<run folder>/wandb``.

    ``offline`` (the default) asks for no login and uses no network; ``wandb sync <run folder>/wandb/offline-run-*``
    uploads the record later. A resumed run keeps its identity: upload the later parts with ``wandb sync --append``.

    Args:
        project: the project that groups the runs.
        entity: user or team, where it is not the account's own.
        mode: offline, online or disabled.
        tags: words to filter runs by.
        name: what the run is called, instead of the name that ``start`` gets.

    Example:
        >>> tracker = WandbTracker(mode="disabled")
        >>> tracker.start(Path("/tmp/run"), {"seed": 0}, "demo")
        >>> tracker.log({"loss": 0.5}, step=0)
        >>> tracker.finish()
    """

    project: str = "advvid"
    entity: str | None = None
    mode: Literal["offline", "online", "disabled"] = "offline"
    tags: Sequence[str] = ()
    name: str | None = None
    _run: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_fields(self)

    def start(self, run_dir: Path, config: Mapping[str, Any], name: str) -> None:
        """Open the record of a run below ``run_dir``.

        Raises:
            AdvvidError: if W&B cannot start, for example online without a login.
        """
        # W&B would report its own errors over the network.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        run_dir.mkdir(parents=True, exist_ok=True)
        identity = run_dir / "wandb" / "advvid_run_id"
        known = identity.read_text().strip() if identity.is_file() else None
        try:
            import wandb  # Takes a second, so only runs that use it pay.

            settings = wandb.Settings(console="off", silent=self.mode != "online")
            self._run = wandb.init(
                project=self.project,
                entity=self.entity,
                mode=self.mode,
                dir=run_dir,
                name=self.name or name,
                tags=list(self.tags),
                config=dict(config),
                id=known,
                resume="allow" if known else None,
                settings=settings,
            )
        except ImportError as error:
            raise AdvvidError(f"W&B does not import ({error}): choose tracker=none") from error
        except (wandb.errors.Error, OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise AdvvidError(
                f"W&B did not start ({reason}): choose tracker=none, or tracker.mode=offline, which needs no login"
            ) from error
        if known is None and self.mode != "disabled":
            files.write_text(identity, f"{self._run.id}\n")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Add a point to each curve; ``step`` never falls."""
        self._started().log(dict(metrics), step=step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Add a table; a column may mix numbers, words and None."""
        import wandb

        data = [list(row) for row in rows]
        self._started().log({name: wandb.Table(columns=list(columns), data=data, allow_mixed_types=True)})

    def image(self, name: str, path: Path) -> None:
        """Add a picture file; it is copied."""
        import wandb

        self._started().log({name: wandb.Image(str(path))})

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set the final values of the run; they may be nested."""
        self._started().summary.update(dict(values))

    def finish(self) -> None:
        """Close the record; a tracker that never started has nothing to close."""
        if self._run is not None:
            self._run.finish()
            self._run = None

    def _started(self) -> Run:
        if self._run is None:
            raise AdvvidError("the W&B tracker is not started: call start(run_dir, config, name) first")
        return self._run

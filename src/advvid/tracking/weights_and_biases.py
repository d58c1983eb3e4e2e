"""Weights & Biases: curves, sortable tables, contact sheets and artifacts, offline unless asked otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from advvid.core import files
from advvid.core.allowed import check_fields
from advvid.core.errors import AdvvidError

if TYPE_CHECKING:
    from wandb import Run

DATA_DIR = "WANDB_DATA_DIR"


@dataclass
class WandbTracker:
    """Keeps the record with Weights & Biases, in ``<run folder>/wandb``.

    ``offline`` (the default) asks for no login and uses no network; ``wandb sync <run folder>/wandb/offline-run-*``
    uploads the record later. A resumed run keeps its identity: upload the later parts with ``wandb sync --append``.

    Args:
        project: the project that holds the runs.
        entity: user or team, where it is not the account's own.
        mode: offline, online or disabled.
        tags: words to filter runs by.
        name: what the run is called, instead of the name that ``start`` gets.
        group: what runs are put together by; None for the folder of the sweep that the run is a job of, if it is one.
        job_type: what kind of work it is; None for the run's own mode, such as ``eval``.
        videos: whether a short film of each column's first clip is drawn and added.
        artifacts: whether checkpoints and tables are added as artifacts. Their files are not copied: an offline record is
            synchronised while they are still there.

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
    group: str | None = None
    job_type: str | None = None
    videos: bool = True
    artifacts: bool = True
    _run: Any = field(default=None, init=False, repr=False)
    _data_dir: str | None = field(default=None, init=False, repr=False)

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
        if self._data_dir is None:
            # What waits to be synchronised lies with the record and not in the user's home.
            self._data_dir = os.environ.get(DATA_DIR, "")
            os.environ[DATA_DIR] = self._data_dir or str(run_dir / "wandb")
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
                group=self.group or _sweep(run_dir),
                job_type=self.job_type or config.get("mode"),
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
        """Add a table: columns of numbers sort as such, of words or of both as words; None is an empty cell."""
        import wandb

        worded = [any(isinstance(row[i], str) for row in rows) for i in range(len(columns))]
        data = [
            [str(value) if word and value is not None else value for value, word in zip(row, worded, strict=True)]
            for row in rows
        ]
        self._started().log({name: wandb.Table(columns=list(columns), data=data, optional=True)})

    def image(self, name: str, path: Path) -> None:
        """Add a picture file; it is copied."""
        import wandb

        self._started().log({name: wandb.Image(str(path))})

    def video(self, name: str, path: Path) -> None:
        """Add a film; it is copied."""
        import wandb

        kind = path.suffix.lstrip(".")
        self._started().log({f"film/{name}": wandb.Video(str(path), format=kind)})  # type: ignore[arg-type]

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set the final values of the run; they may be nested."""
        self._started().summary.update(dict(values))

    def artifact(self, kind: str, paths: Sequence[Path]) -> None:
        """Add files as an artifact of this kind; the next one of the kind is its next version."""
        if not self.artifacts or not paths:
            return
        import wandb

        run = self._started()
        artifact = wandb.Artifact(f"{kind}-{run.id}", type=kind)
        for path in paths:
            artifact.add_file(str(path), name=path.name, policy="immutable", skip_cache=True)
        run.log_artifact(artifact)

    def finish(self) -> None:
        """Close the record; a tracker that never started has nothing to close."""
        if self._run is not None:
            self._run.finish()
            self._run = None
        if self._data_dir is not None:
            os.environ[DATA_DIR] = self._data_dir
            if not self._data_dir:
                del os.environ[DATA_DIR]
            self._data_dir = None

    def _started(self) -> Run:
        if self._run is None:
            raise AdvvidError("the W&B tracker is not started: call start(run_dir, config, name) first")
        return self._run


def _sweep(run_dir: Path) -> str | None:
    """Return the name of the folder of the sweep that a run is a job of."""
    return run_dir.parent.name if (run_dir.parent / "multirun.yaml").is_file() else None

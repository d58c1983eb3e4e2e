"""What a run was told, in ``.hydra/`` of its folder; a command that was refused there leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from advvid.core import files
from advvid.core.run_folder import LOCK, at_work

PLACE = ".hydra"


@contextmanager
def recorded(folder: Path, texts: Mapping[str, str]) -> Iterator[None]:
    """Write what a run is told for as long as it works; where it ends without having written anything, put back what was there.

    Hydra itself writes these files before anybody can refuse, so that a refused command would give another name to the
    table of the run that lies there.

    Args:
        folder: of the run.
        texts: content of each file, such as ``overrides.yaml``.

    Raises:
        AdvvidError: if another process works in the folder.
    """
    place = folder / PLACE
    with at_work(folder):
        before = {path: path.read_bytes() for path in sorted(place.glob("*.yaml")) if path.is_file()}
        stamp = _newest(folder)
        for name, text in texts.items():
            files.write_text(place / name, text)
    try:
        yield
    except BaseException:
        if before and _newest(folder) == stamp:
            for path, content in before.items():
                files.write_bytes(path, content)
        raise


def _newest(folder: Path) -> int:
    """Return when anything in a folder was last written besides the record, the lock and the logs."""
    times = [0]
    for path in folder.rglob("*"):
        own = path.relative_to(folder)
        if own.parts[0] == PLACE or own.name == LOCK or path.suffix == ".log" or path.is_dir():
            continue
        times.append(path.lstat().st_mtime_ns)
    return max(times)

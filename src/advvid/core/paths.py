"""Where things lie: the configuration folder and the cache."""

from __future__ import annotations

import os
from pathlib import Path

from advvid.core.errors import AdvvidError


def conf_dir() -> Path:
    """Return the absolute path of the configuration folder.

    An installed wheel carries it as ``advvid/conf``; a source checkout has it at its top level.

    Raises:
        AdvvidError: if neither folder exists (a broken installation).
    """
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "conf", here.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise AdvvidError(f"advvid's configuration folder is missing beside {here}: install advvid again")


def cache_dir() -> Path:
    """Return the folder for generated data and manifests (``$ADVVID_CACHE``, else the user's cache folder)."""
    chosen = os.environ.get("ADVVID_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "advvid"


def user_path(text: str | Path) -> Path:
    """Return the path that a user means: ``~`` is the home folder, unless something of that very name lies here.

    Example:
        >>> user_path("runs/~a").as_posix()
        'runs/~a'
    """
    path = Path(text)
    if path.exists():
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # ~name of nobody
        return path

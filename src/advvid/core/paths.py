"""Where things lie: the configuration folder and the cache."""

from __future__ import annotations

import os
from importlib.util import find_spec
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


# In front of a file that an installed package brings: package:<its name>/<path in it>.
PACKAGE = "package:"


def user_path(text: str | Path) -> Path:
    """Return the path that a user means: ``~`` is the home folder, unless something of that very name lies here.

    ``package:<name>/<path>`` is a file of an installed package, whose code is not run; where it is not installed, the
    path stays as it was given, and whoever opens it says so.

    Example:
        >>> user_path("runs/~a").as_posix(), user_path("package:advvid/core/paths.py").name
        ('runs/~a', 'paths.py')
    """
    path = Path(text)
    if path.exists():
        return path
    if str(text).startswith(PACKAGE):
        name, _, inside = str(text).removeprefix(PACKAGE).partition("/")
        spec = find_spec(name) if name.isidentifier() else None
        places = list(spec.submodule_search_locations or ()) if spec else []
        return Path(places[0], inside) if places else path
    try:
        return path.expanduser()
    except RuntimeError:  # ~name of nobody
        return path

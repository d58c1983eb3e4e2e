"""Code that neither advvid nor its libraries come with: the digest of its files stands for it in an identity."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from advvid.core.installed import installed

# Packages whose versions every identity holds, see ``advvid.core.identity.PACKAGES``, and those that compute nothing.
LIBRARIES = {"advvid", "torch", "torchvision", "pytorchvideo", "numpy", "omegaconf", "hydra", *sys.stdlib_module_names}
# Packages of networks that not everybody has: their version counts where one of their classes is used.
OPTIONAL = ("transformers", "timm")
CODE = (".py", ".so", ".pyd")


@cache
def source(module: str) -> str | None:
    """Return the digest of the files of the package that a module belongs to, as they were when it was first asked for.

    All code of a package counts, since a class may use any of it. Nothing is imported.

    Args:
        module: dotted, such as ``my_lab.nets``.

    Returns:
        In place of the digest a version for ``OPTIONAL``; None for a library's module, and where there are no files, as in
        a notebook.
    """
    top = module.partition(".")[0]
    if top in LIBRARIES:
        return None
    if top in OPTIONAL:
        return installed([top]).get(top)
    files = _files(top)
    digest = hashlib.blake2b(digest_size=8)
    for name, path in files.items():
        digest.update(f"{name}|{path.stat().st_size}|".encode() + path.read_bytes())
    return digest.hexdigest() if files else None


def with_source(name: str, module: str | None = None) -> str:
    """Return a class's dotted name, behind it the digest of its package where that is somebody's own.

    Args:
        name: dotted.
        module: that it is defined in; the name without its last part by default.

    Example:
        >>> with_source("torch.nn.Linear")
        'torch.nn.Linear'
    """
    found = source(module or name.rpartition(".")[0] or name)
    return name if found is None else f"{name} (source {found})"


def _files(top: str) -> dict[str, Path]:
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):  # of a name that is none, or of a script
        return {}
    if spec is None:
        return {}
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    inside = {
        path.relative_to(folder).as_posix(): path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix in CODE and path.is_file()
    }
    single = Path(spec.origin) if spec.origin and spec.has_location and not folders else None
    return inside or ({single.name: single} if single is not None and single.suffix in CODE else {})

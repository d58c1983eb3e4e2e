"""The public classes of a package: those that its ``__init__.pyi`` lists, and those of a file that was added since."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lazy_loader


def attach(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package.

    The classes of ``__init__.pyi`` are imported when they are first asked for. A class that is not listed is found in
    the package's file that defines it, so that a new one needs no line there; the line gives editors its type.
    A package inside, such as ``advvid.attacks``, is imported as well when it is asked for.

    Args:
        package: its ``__name__``.
        file: its ``__file__``.
    """
    listed, directory, names = lazy_loader.attach_stub(package, file)

    def find(name: str) -> Any:
        if (Path(file).parent / name / "__init__.pyi").is_file():
            return importlib.import_module(f"{package}.{name}")
        if name in names or not name[:1].isupper():
            return listed(name)
        for path in sorted(Path(file).parent.glob("*.py")):
            if re.search(rf"^class {re.escape(name)}\b", path.read_text(encoding="utf-8"), re.MULTILINE):
                return getattr(importlib.import_module(f"{package}.{path.stem}"), name)
        return listed(name)  # which says that there is none

    return find, directory, names

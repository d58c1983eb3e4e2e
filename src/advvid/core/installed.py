"""Which versions of packages are installed here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version


def installed(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of those packages that are there, in this order.

    Example:
        >>> list(installed(["torch", "no such package"]))
        ['torch']
    """
    return {package: found for package in packages if (found := _version(package)) is not None}


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

"""Whose code a configuration may run besides advvid's own: that of packages which the user of this command trusts.

Three people may say so: who types the command (``trust=[my_lab]``), who sets up the shell (``ADVVID_TRUST=my_lab``), and who
installs a package with an entry point of the group ``advvid.plugins``. A saved run may not, and no configuration file may.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from advvid.core.errors import AdvvidError

VARIABLE = "ADVVID_TRUST"
PLUGINS = "advvid.plugins"
# Packages whose classes are allowed one by one; trusting a whole one would let a saved run open files and start processes.
NEVER = {*sys.stdlib_module_names, "advvid", "hydra", "omegaconf", "torch", "torchvision", "pytorchvideo", "numpy"}


def trusted() -> tuple[str, ...]:
    """Return the packages whose classes a configuration may make besides advvid's own.

    Raises:
        AdvvidError: if the environment names something that is no package of a user.
    """
    named = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    return tuple(dict.fromkeys([*_checked(named, VARIABLE), *plugins()]))


def trust(packages: Iterable[str]) -> None:
    """Trust some packages for as long as this process lives, and in every process that it starts.

    Raises:
        AdvvidError: for something that is no package of a user.

    Example:
        >>> trust(["my_lab"])                                           # doctest: +SKIP
    """
    added = _checked(packages, "trust")
    if added:
        os.environ[VARIABLE] = ",".join(dict.fromkeys([*filter(None, [os.environ.get(VARIABLE)]), *added]))


def trust_as_typed(given: Any, overrides: Sequence[str]) -> None:
    """Trust the packages of ``trust=[...]`` on the command line.

    Args:
        given: the option's value in the composed configuration.
        overrides: what the command line sets.

    Raises:
        AdvvidError: if the value comes from elsewhere, such as a file of a folder of options.
    """
    typed: list[str] = []
    for text in overrides:
        if text.lstrip("+").partition("=")[0] == "trust":
            typed = _listed(OverridesParser.create().parse_override(text).value())
    if _listed(given) != typed:
        raise AdvvidError(
            f"trust={_listed(given)} stands in a file of options: whom to trust is said on the command line alone, as in "
            f"trust=[my_lab], or by {VARIABLE}"
        )
    trust(typed)


def trusted_package(dotted: str) -> str | None:
    """Return the trusted package that a dotted name lies in, if any."""
    return next((package for package in trusted() if dotted.startswith(f"{package}.")), None)


@cache
def plugins() -> dict[str, Path | None]:
    """Return the packages that installed entry points of the group ``advvid.plugins`` name, each with its folder ``conf``.

    None stands for a package without such a folder. Nothing of a package of one name is imported for it.
    """
    found: dict[str, Path | None] = {}
    for point in sorted(entry_points(group=PLUGINS), key=lambda point: point.name):
        (package,) = _checked([point.module], f"the entry point {point.name} of {PLUGINS}")
        spec = find_spec(package)
        folders = [Path(place) / "conf" for place in (spec.submodule_search_locations or ())] if spec else []
        found[package] = next((folder for folder in folders if folder.is_dir()), None)
    return found


def own_package(name: str) -> str | None:
    """Return the package that a user could trust for a dotted name; None where nobody may."""
    top = name.partition(".")[0]
    return top if "." in name and top.isidentifier() and not top.startswith("_") and top not in NEVER else None


def _listed(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    return [str(value)] if isinstance(value, str) or not hasattr(value, "__iter__") else [str(item) for item in value]


def _checked(packages: Iterable[str], where: str) -> list[str]:
    found = list(packages)
    for name in found:
        parts = name.split(".")
        if not all(part.isidentifier() and not part.startswith("_") for part in parts) or parts[0] in NEVER:
            raise AdvvidError(f"{where} names {name!r}, which is no package of your own: name one, such as my_lab")
    return found

"""Folders of options: advvid's own, those of installed plugins, and one that the environment or a command line names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from advvid.config.trust import plugins
from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir, user_path

FLAGS = ("--config-dir", "-cd")
# Folders of options for every command, those without the flag included, separated as those of PATH are.
VARIABLE = "ADVVID_CONFIG_DIR"


def folders(arguments: Sequence[str] = ()) -> list[Path]:
    """Return every folder of options, in the order in which Hydra looks for a file.

    Args:
        arguments: a command line, which may name a folder: ``--config-dir my_conf``.

    Raises:
        AdvvidError: if such a folder does not exist, hides an option, or holds settings of Hydra.
    """
    found = [conf_dir(), *(folder for folder in plugins().values() if folder is not None)]
    general = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    for named in [*general, *_named(arguments)[-1:]]:
        folder = user_path(named).absolute()
        if not named or not folder.is_dir():
            flag = VARIABLE if named in general else "--config-dir"
            raise AdvvidError(f"there is no folder {named or 'without a name'}: give {flag}=<folder of options>")
        if folder not in found:
            _check(folder, found)
            found.append(folder)
    return found


def use(places: Sequence[Path]) -> None:
    """Have Hydra, and every process that is started from here, look into these folders too; the first one is advvid's."""
    known = [folder for folder in plugins().values() if folder is not None]
    os.environ[VARIABLE] = os.pathsep.join(str(place) for place in places[1:] if place not in known)


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words that name a folder of options, and all others.

    Example:
        >>> split_flags(["model=mine", "--config-dir", "my_conf", "seed=1"])
        (['--config-dir', 'my_conf'], ['model=mine', 'seed=1'])
    """
    flags, rest = [], []
    words = iter(arguments)
    for word in words:
        if word in FLAGS:
            flags += [word, next(words, "")]
        elif word.startswith(tuple(f"{flag}=" for flag in FLAGS)):
            flags.append(word)
        else:
            rest.append(word)
    return flags, rest


def origin(path: Path, places: Sequence[Path]) -> str:
    """Return where an option's file comes from, in words; "" for advvid's own.

    Args:
        path: of the file.
        places: as ``folders`` returns them.
    """
    home = next((place for place in places if path.is_relative_to(place)), None)
    if home is None or home == places[0]:
        return ""
    installed = next((package for package, folder in plugins().items() if folder == home), None)
    return f"of the package {installed}" if installed else f"from {home.name}"


def _named(arguments: Sequence[str]) -> list[str]:
    flags, _ = split_flags(arguments)
    return [
        word.partition("=")[2] if "=" in word and word.startswith("-") else word for word in flags if word not in FLAGS
    ]


def _check(folder: Path, others: Sequence[Path]) -> None:
    """Refuse what no folder of options may do: hide another option, or tell Hydra what to start."""
    for path in _files(folder):
        name = path.relative_to(folder)
        hidden = next((other / name for other in others if (other / name).is_file()), None)
        if hidden is not None:
            raise AdvvidError(f"{path} has the name of {hidden}, which would be taken in its place: rename it")
        if name.parts[0] == "hydra" or any(_is_hydras(text) for text in _said(path)):
            raise AdvvidError(
                f"{path} holds settings of Hydra, which could start any program: give them on the command line"
            )


def _files(folder: Path) -> Iterator[Path]:
    """Yield every YAML file below a folder, behind links too, as Hydra finds them."""
    met: set[str] = set()
    for place, inside, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in met:
            inside.clear()  # a link to where we were
        met.add(real)
        yield from (Path(place) / name for name in sorted(names) if name.endswith(".yaml"))


def _said(path: Path) -> Iterator[str]:
    """Yield the packages and names that a file uses where these could be Hydra's: header, keys, defaults list."""
    try:
        text = path.read_text(encoding="utf-8")
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise AdvvidError(f"{path} is no YAML file ({' '.join(str(error).split())}): mend it") from None
    yield from (line for line in text.splitlines() if "@package" in line)
    if isinstance(content, dict):
        yield from map(str, content)
        yield from _texts(content.get("defaults"))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value


def _is_hydras(text: str) -> bool:
    # An interpolation could spell anything.
    return "hydra" in text.lower() or "${" in text

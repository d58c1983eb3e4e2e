"""Paths on the command line, taken as the shell hands them over.

Hydra has a grammar of its own for values, in which ``=``, ``,``, ``[]``, ``{}``, quotes, ``#`` and ``${}`` mean something.
A folder may be called so. What stands behind an option that is a path is therefore quoted for Hydra before it reads it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from advvid.core.errors import AdvvidError

# Options that are paths, by the last part of their names; a test holds this against the declarations.
PATHS = (
    "cache", "checkpoint", "checkpoints", "class_names", "classifier", "dir", "files", "folder", "generator", "network",
    "path", "root", "splits", "surrogate", "vocabulary",
)  # fmt: skip
LISTS = ("files", "checkpoints")
RUN_DIR, SWEEP_DIR = "hydra.run.dir", "hydra.sweep.dir"
LOG = "hydra.job_logging.handlers.file.filename"
# Old names of options, accepted for one version.
RENAMED = {"survive": "postprocess"}
MULTIRUN = ("-m", "--multirun")
# Hydra's ways to sweep other than a comma.
FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort|extend_list|str|tag)\(.*\)", re.DOTALL)


def as_typed(arguments: Sequence[str]) -> list[str]:
    """Return a command line in which Hydra reads every path as it was typed.

    A value in quotes of its own, as in ``'checkpoint="a"'``, is left to Hydra, with all that its grammar has. In a
    multirun a comma separates the values of a sweep.

    Args:
        arguments: without the program's name.

    Raises:
        AdvvidError: for a run folder without a name, and for bytes that are no text.

    Example:
        >>> as_typed(["checkpoint=runs/a=[b]", "attack.eps=4/255"])
        ["checkpoint='runs/a=[b]'", 'attack.eps=4/255']
    """
    sweep = any(flag in arguments for flag in MULTIRUN)
    arguments = [_renamed(argument) for argument in arguments]
    found = [_argument(argument, sweep) for argument in arguments]
    folder = odd_run_folder(arguments)
    if folder is None:
        return found
    # Hydra would look up in its own configuration what the folder's name asks for: it gets the present folder, in which
    # it writes nothing, and the log's place by itself.
    found = [argument for argument in found if not argument.startswith(f"{RUN_DIR}=")]
    return [*found, f"{RUN_DIR}=.", f"{LOG}={quoted(str(folder / 'train.log'))}"]


def several_trackers(arguments: Sequence[str]) -> list[str]:
    """Return a command line in which ``tracker=[wandb,csv]`` stands as Hydra composes it: each below a name of its own.

    Example:
        >>> several_trackers(["tracker=[wandb,csv]"])
        ['tracker=several', '+tracker@tracker.of.wandb=wandb', '+tracker@tracker.of.csv=csv']
    """
    found: list[str] = []
    for argument in arguments:
        listed = re.fullmatch(r"tracker=\[([\w\s,]*)\]", argument)
        if listed is None:
            found.append(argument)
            continue
        names = [name.strip() for name in listed[1].split(",") if name.strip()]
        found += ["tracker=several", *(f"+tracker@tracker.of.{name}={name}" for name in dict.fromkeys(names))]
    return found


def odd_run_folder(arguments: Sequence[str]) -> Path | None:
    """Return the run folder of a command line if its name holds ``${``, which Hydra itself cannot keep."""
    given = [a.partition("=")[2] for a in arguments if a.startswith(f"{RUN_DIR}=")]
    odd = [value for value in given[-1:] if "${" in value and not _in_quotes(value)]
    return Path(odd[0]).absolute() if odd else None


def typed_path(value: str) -> str:
    """Return the path that a value on the command line means: without quotes, where it is in quotes."""
    return re.sub(r"\\(['\"])", r"\1", value[1:-1]) if _in_quotes(value) else value


def quoted(text: str) -> str:
    """Return a text as Hydra and OmegaConf read it literally."""
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # no interpolation
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return "'" + re.sub(r"(\\+)\Z", r"\1\1", text) + "'"


def _renamed(argument: str) -> str:
    """Return an override under the present name of its option; an old one is accepted, with a notice."""
    key, equals, value = argument.partition("=")
    new = RENAMED.get(key.lstrip("+"))
    if not equals or new is None:
        return argument
    sys.stderr.write(f"note: {key.lstrip('+')}=... is now called {new}=...; the old name goes with the next version\n")
    return f"{new}={value}"


def _argument(argument: str, sweep: bool) -> str:
    key, equals, value = argument.partition("=")
    name = key.lstrip("+")
    last = name.rpartition(".")[2]
    if (
        not equals
        or argument.startswith("-")
        or last not in PATHS
        or (last == "dir" and name not in (RUN_DIR, SWEEP_DIR))
    ):
        return argument
    try:
        value.encode()
    except UnicodeEncodeError:
        raise AdvvidError(f"{name}={value!r} holds bytes that are no text: choose a name in UTF-8") from None
    if name in (RUN_DIR, SWEEP_DIR) and not typed_path(value).strip():
        raise AdvvidError(f"{name}= names no folder: give {name}=<folder>, or leave it out")
    if name == SWEEP_DIR and "${" in value and not _in_quotes(value):
        raise AdvvidError(f"{name}={value} holds ${{, which Hydra would look up: choose another folder for a multirun")
    if value in ("", "null") or _in_quotes(value) or (sweep and FUNCTION.fullmatch(value)):
        return argument
    if last in LISTS and value.startswith("[") and value.endswith("]"):
        return f"{key}=[{','.join(_items(value[1:-1]))}]"
    if sweep and "," in value:
        return f"{key}={','.join(item if _in_quotes(item) else _path(item) for item in value.split(','))}"
    return f"{key}={_path(value)}"


def _path(text: str) -> str:
    return quoted("./???" if text == "???" else text)  # OmegaConf's sign for a value that is missing


def _in_quotes(value: str) -> bool:
    """Tell whether a value is one text in quotes."""
    return re.fullmatch(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", value, re.DOTALL) is not None


def _items(inside: str) -> Iterator[str]:
    """Yield the paths of a list, quoted; a comma belongs to a name where a file of that name exists."""
    pieces = re.findall(r"\s*(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^,]*)\s*(?:,|$)", inside)
    pieces = [piece.removesuffix(",") for piece in pieces if piece]
    while pieces:
        longest = range(len(pieces), 1, -1)
        count = (
            next((n for n in longest if Path(",".join(pieces[:n]).strip()).exists()), 1) if len(pieces) < 1000 else 1
        )
        item, pieces = ",".join(pieces[:count]).strip(), pieces[count:]
        yield item if _in_quotes(item) or item == "null" else _path(item)

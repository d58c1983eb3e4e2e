"""Files that somebody else may have written, read within bounds: plain values, so many and so deep, and nothing that runs.

A shared run folder may hold a bomb: a few bytes that unfold into gigabytes through aliases or shared lists, or a value
nested so deep that walking it ends the process. Everything that is read from a run folder passes here first.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
import yaml

from advvid.core.errors import AdvvidError

# Far above what any run writes: a table of ten thousand missing clips and fifty columns has some twenty thousand values.
MOST_VALUES = 1_000_000
MOST_DEEP = 60
MOST_TEXT = 100_000_000
MOST_BYTES = 100_000_000
MOST_LINES_BYTES = 1_000_000_000
# Hydra's own files have a few hundred values.
MOST_YAML_BYTES = 1_000_000
MOST_YAML_VALUES = 50_000


def check_plain(value: Any, what: str) -> None:
    """Refuse a value that is more than mappings, lists, text, numbers and tensors, or too many or too deep of these.

    What is shared counts each time that it is met, since every later walk meets it each time too.

    Args:
        value: as it was read.
        what: names it in the message, as "the checkpoint last.pt".

    Raises:
        AdvvidError: saying what is wrong.

    Example:
        >>> check_plain({"eps": 0.1, "weights": torch.zeros(2)}, "this")
        >>> bomb = ["x"]
        >>> for _ in range(40):
        ...     bomb = [bomb, bomb]
        >>> check_plain(bomb, "this")
        Traceback (most recent call last):
            ...
        advvid.core.errors.AdvvidError: this holds more than 1,000,000 values, which no run writes: take another copy of the run
    """
    count = length = 0
    stack: list[tuple[Any, int]] = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        count += 1
        if count > MOST_VALUES:
            raise _refused(what, f"more than {MOST_VALUES:,} values")
        if depth > MOST_DEEP:
            raise _refused(what, f"values nested more than {MOST_DEEP} deep")
        if isinstance(item, Mapping):
            stack += ((inner, depth + 1) for pair in item.items() for inner in pair)
        elif isinstance(item, list | tuple | set | frozenset):
            if len(item) > MOST_VALUES:  # before its members are put on the stack
                raise _refused(what, f"more than {MOST_VALUES:,} values")
            stack += ((inner, depth + 1) for inner in item)
        elif isinstance(item, str | bytes | bytearray):
            length += len(item)
            if length > MOST_TEXT:
                raise _refused(what, f"more than {MOST_TEXT:,} characters")
        elif isinstance(item, int) and item.bit_length() > 1024:
            raise _refused(what, "a whole number of more than 300 digits")
        elif not isinstance(
            item, torch.Tensor | torch.Size | torch.dtype | torch.device | int | float | complex | None
        ):
            raise _refused(what, f"a {type(item).__name__}")


def read_json(path: Path, what: str | None = None) -> Any:
    """Read a JSON file that somebody else may have written.

    Args:
        path: the file.
        what: names it in messages; its path where left out.

    Raises:
        AdvvidError: if it cannot be read, is no JSON, or is larger or deeper than any run writes.
    """
    what = what or str(path)
    return parse_json(read_text(path, MOST_BYTES, what), what)


def parse_json(text: str, what: str) -> Any:
    """Return what a JSON text says; see ``read_json``."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise _refused(what, f"values nested more than {MOST_DEEP} deep") from None
    except ValueError as error:
        raise AdvvidError(f"{what} cannot be read ({error}): it is damaged or was cut short") from None
    check_plain(value, what)
    return value


def read_lines(path: Path) -> list[Any]:
    """Read a file with a JSON value on each line, such as ``samples.jsonl``.

    Raises:
        AdvvidError: as ``read_json`` does, naming the line.
    """
    lines = read_text(path, MOST_LINES_BYTES).split("\n")  # and not at other ends of lines, which stand in names
    return [parse_json(line, f"line {i} of {path}") for i, line in enumerate(lines, 1) if line.strip()]


def read_yaml(path: Path, what: str | None = None) -> Any:
    """Read a YAML file as Hydra writes them: no aliases, no tags that make objects, no more than any run writes.

    Raises:
        AdvvidError: if it cannot be read, or is none of that.
    """
    what = what or str(path)
    text = read_text(path, MOST_YAML_BYTES, what)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        depth = 0
        for count, event in enumerate(yaml.parse(text, Loader=loader)):  # one at a time: nothing unfolds here
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise _refused(what, "a YAML alias")
            if count > MOST_YAML_VALUES or depth > MOST_DEEP:
                raise _refused(what, f"more than {MOST_YAML_VALUES:,} values, or more than {MOST_DEEP} deep")
        value = yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise AdvvidError(f"{what} cannot be read ({said}): it is damaged or was cut short") from None
    return value


def opened(path: Path) -> BufferedReader:
    """Open a file that somebody else may have put there; a pipe or a device, which would be waited for, is refused.

    Raises:
        OSError: if it cannot be read, or is no regular file.

    Example:
        >>> opened(Path("/dev/zero"))
        Traceback (most recent call last):
            ...
        OSError: [Errno 22] it is no regular file: '/dev/zero'
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(handle, "rb")


def read_text(path: Path, most: int, what: str | None = None) -> str:
    """Read a text (UTF-8) that somebody else may have written.

    Args:
        path: the file.
        most: bytes.
        what: names it in messages; its path where left out.

    Raises:
        AdvvidError: if it cannot be read, is larger, or is no text.
    """
    what = what or str(path)
    try:
        if not path.is_file():
            raise AdvvidError(f"{what} cannot be read (there is no such file): check the path")
        with opened(path) as file:
            content = file.read(most + 1)
    except OSError as error:
        raise AdvvidError(f"{what} cannot be read ({error.strerror}): check the path") from None
    if len(content) > most:
        raise _refused(what, f"more than {most:,} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise AdvvidError(f"{what} cannot be read (it is not text in UTF-8): it is damaged") from None


def _refused(what: str, holds: str) -> AdvvidError:
    return AdvvidError(f"{what} holds {holds}, which no run writes: take another copy of the run")

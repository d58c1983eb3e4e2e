"""Digests of values, tensors, files and networks: equal content, equal digest, on every machine."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advvid.core.errors import AdvvidError
from advvid.core.numbers import parse_number
from advvid.core.own_code import with_source
from advvid.core.paths import cache_dir
from advvid.core.progress import bar

# Bytes of a digest: 128 bits, so that two contents never meet by chance.
SIZE = 16
# A file that changed this recently could change again without another time of change: its hash is not remembered.
SETTLED_SECONDS = 2.0
# The signs of a number; most texts have others, and need not be read as one.
_NUMERIC = "0123456789+-./eE_ "
# What PyTorch keeps in every module; weights and buffers are hashed by content, hooks and caches belong to nobody.
_OWN = frozenset(nn.Module().__dict__) | {"training"}


def canonical(value: Any) -> Any:
    """Return a plain value in one form, whatever its spelling: ``"8/255"``, ``8/255`` and ``0.03137...`` are one number.

    Args:
        value: what a configuration holds: numbers, text, booleans, None, lists and mappings of these.

    Example:
        >>> canonical({"eps": "1/4", "steps": 10}) == canonical({"steps": 10.0, "eps": 0.25})
        True
    """
    if isinstance(value, Mapping):
        return {str(key): canonical(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return str(value) if value.strip(_NUMERIC) else parse_number(value)
        except AdvvidError:
            return str(value)  # of a string of its own kind, such as a version, the plain one
    if isinstance(value, int | float):
        try:
            return float(value) if math.isfinite(value) else str(value)
        except OverflowError:
            return str(value)
    return str(value)


def of_values(*values: Any) -> str:
    """Return the digest of plain values."""
    return _hash(json.dumps(canonical(values), sort_keys=True).encode())


def of_tensors(tensors: Mapping[str, Any]) -> str:
    """Return the digest of named tensors: names, types, shapes and every bit; other values by their text.

    Example:
        >>> of_tensors({"a": torch.zeros(2)}) == of_tensors({"a": torch.zeros(1, 2)})
        False
    """
    digest = hashlib.sha256()  # twice as fast as BLAKE2 where processors have instructions for it, as most do
    for name, value in sorted(tensors.items()):
        if isinstance(value, Tensor):
            digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        else:
            digest.update(f"{name}|{value!r}|".encode())
    return digest.hexdigest()[: 2 * SIZE]


def of_array(values: Tensor | np.ndarray[Any, Any]) -> str:
    """Return the digest of one tensor or array."""
    return of_tensors({"": values if isinstance(values, Tensor) else torch.from_numpy(np.ascontiguousarray(values))})


def of_module(model: nn.Module) -> str:
    """Return the digest of a network: its classes, settings, weights and buffers, saved or not; of a user's classes the code.

    A wrapper's settings (mean, size, number of frames) count although they are not in ``state_dict``, and so does what lies in
    lists and objects of its own: networks that are not registered, configuration objects. Training mode and hooks do not
    count.

    Example:
        >>> of_module(nn.LeakyReLU(0.1)) == of_module(nn.LeakyReLU(0.2))
        False
    """
    return _of_module(model, {})


def _of_module(model: nn.Module, met: dict[int, int]) -> str:
    digest = hashlib.blake2b(digest_size=SIZE)
    inside = list(model.named_modules())
    for _, module in inside:
        met.setdefault(id(module), len(met))
    for name, module in inside:
        settings = {key: _plain(value, met) for key, value in module.__dict__.items() if key not in _OWN}
        digest.update(f"{name}|{with_source(_named(type(module)), type(module).__module__)}|".encode())
        digest.update(json.dumps(settings, sort_keys=True).encode())
        own = {**module._parameters, **module._buffers}
        digest.update(of_tensors({key: value for key, value in own.items() if value is not None}).encode())
    return digest.hexdigest()


def _plain(value: Any, met: dict[int, int]) -> Any:
    """Return what a setting of a module says of how it computes, in a form that JSON keeps.

    Args:
        value: of the setting.
        met: objects that were looked at before, by identity, with their number, which stands for one that comes again.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return canonical(value)
    if isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype != object):
        return of_array(value)
    if isinstance(value, torch.dtype | torch.device | bytes | complex):
        return str(value)
    if id(value) in met:
        return f"object {met[id(value)]}"
    met[id(value)] = len(met)
    if isinstance(value, nn.Module):
        return _of_module(value, met)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, met) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(item, met) for item in sorted(value, key=str)), key=str)
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item, met) for item in value]
    if isinstance(value, partial):
        return {"class": "partial", "of": [_plain(part, met) for part in (value.func, value.args, value.keywords)]}
    if isinstance(value, MethodType):
        return {"class": value.__qualname__, "of": _plain(value.__self__, met)}
    if hasattr(value, "__qualname__"):
        return _named(value)  # a function or a class; of these the name counts
    # Of any other object its kind and its own settings: its text may hold an address.
    return {"class": _named(type(value)), **{key: _plain(item, met) for key, item in _settings(value).items()}}


def _settings(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, in slots too."""
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()) if isinstance(name, str)]
    return {name: getattr(value, name) for name in slots if hasattr(value, name)} | getattr(value, "__dict__", {})


def _named(kind: Any) -> str:
    return f"{getattr(kind, '__module__', None)}.{kind.__qualname__}"


def of_file(path: Path) -> str:
    """Return the digest of a file's content, from the memory where the file has not changed.

    Raises:
        OSError: if it cannot be read.
    """
    return of_files([path])[0]


def of_files(paths: Sequence[Path], title: str = "hashing the files") -> list[str]:
    """Return the digest of each file's content; those that have not changed since the last time are not read again.

    Size and times of change tell whether a file has changed. What is known lies in ``hashes.sqlite`` of the cache folder;
    without a place to write, every file is read each time.

    Raises:
        OSError: if a file cannot be read.
    """
    keys, changed = [], []
    for path in paths:
        stat = path.stat()
        # The second time is the file system's own, which a copy that keeps its time cannot set back.
        keys.append((os.path.abspath(path), stat.st_size, f"{stat.st_mtime_ns} {stat.st_ctime_ns}"))
        changed.append(max(stat.st_mtime_ns, stat.st_ctime_ns))
    known = _remembered(keys)
    todo = [number for number, key in enumerate(keys) if key not in known]
    if todo:
        with bar(title, len(todo)) as progress, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for number, digest in zip(todo, pool.map(lambda n: of_content(paths[n]), todo), strict=True):
                known[keys[number]] = digest
                progress.advance(1)
        settled = time.time_ns() - int(SETTLED_SECONDS * 1e9)
        _remember([(*keys[n], known[keys[n]]) for n in todo if changed[n] < settled])
    return [known[key] for key in keys]


def of_content(path: Path) -> str:
    """Return the digest of a file's content, read now.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=SIZE)).hexdigest()


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=SIZE).hexdigest()


def _remembered(keys: Iterable[tuple[str, int, str]]) -> dict[tuple[str, int, str], str]:
    found: dict[tuple[str, int, str], str] = {}

    def read(base: sqlite3.Connection) -> None:
        for key in keys:
            row = base.execute("SELECT digest FROM hashes WHERE path=? AND size=? AND changed=?", key).fetchone()
            if row is not None:
                found[key] = str(row[0])

    _with_memory(read)
    return found


def _remember(rows: Sequence[tuple[str, int, str, str]]) -> None:
    def write(base: sqlite3.Connection) -> None:
        base.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", rows)

    _with_memory(write)


def _with_memory(use: Callable[[sqlite3.Connection], None]) -> None:
    """Open the memory of hashes for a moment; without one, nothing is remembered and everything works."""
    try:
        folder = cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(folder / "hashes.sqlite", timeout=10)) as base, base:
            base.execute(
                "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, size INT, changed TEXT, digest TEXT)"
            )
            use(base)
    except (OSError, sqlite3.Error):
        return

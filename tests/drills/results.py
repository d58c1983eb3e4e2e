"""What a finished folder holds, without what may differ between two runs of one command: seconds and places."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

VOLATILE = {
    "seconds",
    "clips_per_s",
    "commit",
    "versions",
    "config",
    "checkpoint",
    "cost",
    "finished",
    "command",
    "words",
    "files",
}
# Memories of files, under names that hold places and times.
MEMORIES = {"feature_index", "scans", "hashes.sqlite"}
SKIPPED = {"output.txt", "seconds.txt", "done.json", "multirun.yaml"}


def results(folder: Path) -> dict[str, str]:
    """Return a digest of every file by its name; what no finished run leaves behind stands there by its name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or ".hydra" in path.parts or path.suffix in (".log", ".md") or path.name in SKIPPED:
            continue
        if MEMORIES & set(path.relative_to(folder).parts):
            continue
        if path.name.endswith((".tmp", ".lock")):
            found[name] = "left behind"
            continue
        found[name] = _digest(_content(path))
    return found


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return _plain(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [_plain(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix == ".pt":
        return _plain(torch.load(path, map_location="cpu", weights_only=True))
    if path.suffix == ".npz":
        with np.load(path) as file:
            return {key: _plain(file[key]) for key in file.files if key not in VOLATILE}
    return path.read_bytes()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items() if key not in VOLATILE}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, torch.Tensor):
        return _plain(value.detach().contiguous().numpy())
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.blake2b(np.ascontiguousarray(value).tobytes()).hexdigest()]
    return value


def _digest(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True, default=repr).encode()
    return hashlib.blake2b(data, digest_size=8).hexdigest()

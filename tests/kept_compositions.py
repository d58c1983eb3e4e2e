"""Each command line is composed once per process of tests: Hydra takes longer for it than most tests take.

Kept is what comes from advvid's own ``conf/`` alone, which stands still while tests run, and each of its files once read. A
folder of options that a test writes, and a composition that fails, are read anew each time. Everyone gets a copy.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Hashable
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository

from advvid.core.paths import conf_dir

_kept: dict[Hashable, bytes] = {}


def keep() -> None:
    """Have Hydra return a copy of what it composed or read before."""
    compose, read = ConfigLoaderImpl.load_configuration, ConfigRepository.load_config
    own = {"pkg://hydra.conf", f"file://{conf_dir()}", "structured://"}

    def composed(loader: ConfigLoaderImpl, *words: Any, from_shell: bool = True, **named: Any) -> Any:
        key = None
        if not from_shell and own == {source.full_path() for source in loader.repository.get_sources()}:
            key = (os.getcwd(), repr(words), repr(named))
        return _once(key, lambda: compose(loader, *words, from_shell=from_shell, **named))

    def loaded(repository: ConfigRepository, config_path: str) -> Any:
        key = config_path if own == {source.full_path() for source in repository.sources} else None
        return _once(key, lambda: read(repository, config_path))

    ConfigLoaderImpl.load_configuration = composed
    ConfigRepository.load_config = loaded


def _once(key: Hashable, make: Callable[[], Any]) -> Any:
    if key is None:
        return make()
    if key not in _kept:
        _kept[key] = pickle.dumps(make())
    return pickle.loads(_kept[key])

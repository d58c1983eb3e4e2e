"""The configuration that a run stores with its results: written without anything left to look up, and read the same way.

What Hydra writes as ``${oc.env:HOME}`` or ``${now:...}`` asks the machine on which it is read. A stored configuration
holds the answer instead, and one that asks is refused. Only ``${..num_classes}`` and the like stay, which name a plain value
of the same configuration: a network's node is filled in when it is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from advvid.core.errors import AdvvidError
from advvid.core.escape import clipped
from advvid.core.plain import check_plain

REFERENCE = re.compile(r"\$\{(\.*)([A-Za-z_]\w*(?:\.\w+)*)\}")
# A reference or a question; a folder whose very name holds ${ is written \\${.
ASKS = re.compile(r"(?<!\\)(?:\\\\)*\$\{")
# Names of options, which become headings of tables and parts of names of files.
NAME = re.compile(r"\w[\w.+-]{0,99}", re.ASCII)
# What an option of several words looks like: purifier=[jpeg,resize], experiment=kinfu/cat, attack@suite.mim.
SEVERAL = ("purifier", "experiment")
LOOSE = re.compile(r"[\w\[.][\w.@/+,'\[\]: -]{0,299}", re.ASCII)
# A chain of references that name references.
MOST_STEPS = 8


def stored(cfg: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain values, as it is put into checkpoints and tables.

    Example:
        >>> stored(OmegaConf.create({"a": 3, "net": {"width": "${..a}"}, "b": "${oc.decode:'4'}"}))
        {'a': 3, 'net': {'width': '${..a}'}, 'b': 4}
    """
    plain: Any = OmegaConf.to_container(cfg, resolve=False)

    def settled(value: Any, path: tuple[Any, ...]) -> Any:
        if isinstance(value, dict):
            return {key: settled(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [settled(inner, (*path, i)) for i, inner in enumerate(value)]
        if not isinstance(value, str) or not ASKS.search(value) or _refers(plain, path, value):
            return value
        found: Any = cfg
        for key in path:
            found = found[key]
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found

    result: dict[str, Any] = settled(plain, ())
    return result


def checked(config: Any, what: str) -> dict[str, Any]:
    """Return a configuration that a run stored, after making sure that nothing in it asks, unfolds or names a path.

    Args:
        config: plain values, as they were read.
        what: names it in messages.

    Raises:
        AdvvidError: naming the first thing that no run writes.

    Example:
        >>> checked({"choices": {"attack": "../../evil"}}, "last.pt")
        Traceback (most recent call last):
            ...
        advvid.core.errors.AdvvidError: last.pt says choices.attack=../../evil, which is no name of an option: ...
    """
    check_plain(config, what)
    if not isinstance(config, Mapping) or not all(isinstance(key, str) for key in config):
        raise AdvvidError(f"{what} holds no configuration of a run: take another copy of the run")
    # Older versions wrote the run's title as it stands in train.yaml. Nobody reads it.
    config = {key: value for key, value in config.items() if key != "name" or "${" not in str(value)}
    _check_references(config, (), config, what)
    choices = config.setdefault("choices", {})
    if not isinstance(choices, Mapping):
        raise AdvvidError(f"{what} says choices={_short(choices)}, which is no mapping: take another copy of the run")
    for group, option in choices.items():
        fits = LOOSE.fullmatch if group in SEVERAL or "@" in group else NAME.fullmatch
        if not LOOSE.fullmatch(group) or not isinstance(option, str) or not fits(option) or ".." in option:
            raise AdvvidError(
                f"{what} says choices.{_short(group)}={_short(option)}, which is no name of an option: take another copy "
                "of the run"
            )
    return config


def _check_references(value: Any, path: tuple[Any, ...], root: Any, what: str) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_references(inner, (*path, key), root, what)
            if "${" in str(key):
                raise AdvvidError(
                    f"{what} has the option {_short(key)}, which is no name: take another copy of the run"
                )
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            _check_references(inner, (*path, i), root, what)
    elif isinstance(value, str) and ASKS.search(value) and not _refers(root, path, value):
        raise AdvvidError(
            f"{what} says {_short('.'.join(map(str, path)))}={_short(value)}, and a stored configuration asks for nothing: "
            "only a run that holds the value itself can be used, as this version writes it"
        )


def _refers(root: Any, path: tuple[Any, ...], text: str) -> bool:
    """Tell whether a text is a reference and nothing else, and leads to a plain value of the same configuration."""
    for _ in range(MOST_STEPS):
        match = REFERENCE.fullmatch(text)
        if match is None or len(match[1]) > len(path):
            return False
        keys: tuple[Any, ...] = (*(path[: -len(match[1])] if match[1] else ()), *match[2].split("."))
        found = root
        for i, key in enumerate(keys):
            if isinstance(found, list | tuple) and str(key).isdigit() and int(key) < len(found):
                keys = (*keys[:i], int(key), *keys[i + 1 :])
                found = found[int(key)]
            elif isinstance(found, Mapping) and key in found:
                found = found[key]
            else:
                return False
        if not isinstance(found, str) or "${" not in found:
            inner = found if isinstance(found, list | tuple) else [found]
            return all(
                item is None or (isinstance(item, int | float | str) and "${" not in str(item)) for item in inner
            )
        path, text = keys, found
    return False


def _short(value: Any) -> str:
    """Return a value as it may stand in a message: on one line, without control characters, not long."""
    text = value if isinstance(value, str) and LOOSE.fullmatch(value) else ascii(value)
    return clipped(text)

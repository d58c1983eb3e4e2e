"""Walks every option of conf/: another valid value changes the identity, or the option is declared to change no number.

``python -m tests.contracts.options_walk`` prints how many there are of each kind, and what is not explained.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from advvid.core import digests
from advvid.core.allowed import hints_of
from advvid.core.examples import examples
from advvid.core.identity import Identity
from advvid.core.option_parts import NEUTRAL, ROUNDING, fits, part_of
from advvid.core.paths import conf_dir

# Hydra's own settings say where a run is written; experiments hold options of other groups.
APART = ("hydra",)
# A class that each group has besides the one in force.
OTHER_CLASS = "advvid.nowhere.Other"


@dataclass(frozen=True)
class Place:
    """An option in a file of conf/.

    Args:
        file: such as ``defense/cat``; ``train`` for the options of every run.
        option: dotted, in the composed configuration.
        old: the value in force.
        new: another one.
        declared: whether the new one is valid by the declaration of the class; else it is of the same type.
    """

    file: str
    option: str
    old: Any
    new: Any
    declared: bool


def composed(*overrides: str) -> DictConfig:
    """Compose a configuration as the command line does."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def files() -> Iterator[tuple[str, str, str]]:
    """Yield every file of a group as (name, group, option)."""
    for path in sorted(conf_dir().rglob("*.yaml")):
        name = path.relative_to(conf_dir()).with_suffix("")
        if name.parts[0] not in APART and len(name.parts) > 1:
            yield name.as_posix(), name.parts[0], Path(*name.parts[1:]).as_posix()


def plain(cfg: DictConfig, group: str) -> Any:
    """Return a group as plain values."""
    node = cfg.get(group)
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def places(every: int = 1) -> Iterator[Place]:
    """Yield every option of conf/, those of each file once.

    Args:
        every: take one file in so many; the options of every run are always there.
    """
    base = composed()
    groups = {group for _, group, _ in files()}
    own = {str(key): plain(base, str(key)) for key in base if str(key) not in (*groups, *APART) and str(key) != "name"}
    for option, old in leaves(own | {"name": "a title"}, ""):
        new, declared = another(old, None)
        yield Place("train", option, old, new, declared)
    before = {group: plain(base, group) for group in groups}
    for file, group, name in list(files())[::every]:
        cfg = composed(f"{group}=[{name}]" if group == "purifier" else f"{group}={name}")
        # An experiment sets options of several groups: those that it changes are its own.
        for part in sorted(groups - {"experiment"}) if group == "experiment" else [group]:
            values = plain(cfg, part)
            if group == "experiment" and values == before[part]:
                continue
            found = {part: values}
            for option, old in leaves(found, ""):
                new, declared = another(old, hint(found, option))
                yield Place(file, option, old, new, declared)


def leaves(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield every dotted option with its value; a list is one value."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node


def hint(values: Mapping[str, Any], option: str) -> Any:
    """Return the declaration of an option by the class that takes it; None where there is none."""
    *above, key = option.split(".")
    node: Any = values
    for part in above:
        node = node[part]
    target = node.get("_target_") if isinstance(node, Mapping) else None
    if not isinstance(target, str) or key.startswith("_"):
        return None
    try:
        return hints_of(get_object(target)).get(key)
    except (ImportError, AttributeError, TypeError, ValueError):
        return None


def another(old: Any, declaration: Any) -> tuple[Any, bool]:
    """Return another value than the one in force, valid by the declaration where there is one."""
    if declaration is not None:
        for value in examples(declaration)[0]:
            if digests.canonical(value) != digests.canonical(old):
                return value, True
    if isinstance(old, bool):
        return not old, False
    if isinstance(old, int | float):
        return 2 * old + 1, False
    if old is None:
        return 1, False
    if isinstance(old, list):
        return [*old, old[-1] if old else 1], False
    if isinstance(old, Mapping):
        return {"a": 1}, False
    return f"{old}_other" if "." not in str(old) else OTHER_CLASS, False


def alone(option: str, value: Any) -> dict[str, Any]:
    """Return a configuration with one option."""
    for name in reversed(option.split(".")):
        value = {name: value}
    return dict(value)


def explained(place: Place) -> str:
    """Return what kind of option it is; "" where a change is seen by nobody, or by somebody though it is neutral."""
    old, new = (Identity.of(alone(place.option, v), read_files=False) for v in (place.old, place.new))
    if part_of(place.option) is None:
        return "neutral" if old.digest() == new.digest() else ""
    if new.parts.get(ROUNDING) != old.parts.get(ROUNDING):
        return "rounding"
    trained, scored = new.training.digest() != old.training.digest(), new.scoring.digest() != old.scoring.digest()
    return {(True, True): "both", (True, False): "training", (False, True): "scoring", (False, False): ""}[
        trained, scored
    ]


def walk(every: int = 1) -> tuple[Counter[str], Counter[str], list[Place]]:
    """Return the number of option places by kind, of neutral ones by pattern, and what is not explained."""
    kinds: Counter[str] = Counter()
    neutral: Counter[str] = Counter()
    lost = []
    for place in places(every):
        kind = explained(place)
        kinds[kind] += 1
        kinds["declared"] += place.declared
        if kind == "neutral":
            neutral[pattern_of(place.option)] += 1
        if not kind:
            lost.append(place)
    return kinds, neutral, lost


def pattern_of(option: str) -> str:
    """Return the pattern by which an option is neutral."""
    return next(pattern for pattern in NEUTRAL if fits(option, pattern))


def main() -> int:
    """Print the walk; return how many options are not explained."""
    kinds, neutral, lost = walk()
    number = sum(kinds.values()) - kinds["declared"]
    sys.stdout.write(f"{number} options in {len(list(files())) + 1} files of conf/\n")
    for kind, said in (
        ("both", "change the identity of training and scores"),
        ("training", "change that of training"),
        ("scoring", "change that of scores"),
        ("rounding", "move the last bits and are told"),
        ("neutral", "change no number"),
        ("declared", "of all were given a value from their declaration"),
    ):
        sys.stdout.write(f"{kinds[kind]:6} {said}\n")
    for pattern, count in sorted(neutral.items()):
        sys.stdout.write(f"       {count:5} {pattern}: {NEUTRAL[pattern]}\n")
    sys.stdout.write(f"{len(lost)} unexplained\n")
    for place in lost:
        sys.stdout.write(f"       {place}\n")
    return len(lost)


if __name__ == "__main__":
    sys.exit(main())

"""From a suite's configuration to the columns of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from advvid.attacks.base import Attack
from advvid.config.instantiate import safe_instantiate
from advvid.core.allowed import require
from advvid.core.errors import AdvvidError
from advvid.evaluation.columns import Column

# A suite's key for groups of columns, whose mean is a type's accuracy (Kinfu & Vidal, table 4).
TYPES = "types"
# Whether the run's own attack is a column as well.
INCLUDE = "include_attack"
# A suite's key for settings with several values: an attack that has one becomes a column for each, and they a type.
EACH = "each"


def suite_columns(suite: DictConfig, attack_name: str, attack: Attack) -> list[Column]:
    """Return the columns of a suite; equal settings are scored once, under the suite's name.

    Raises:
        AdvvidError: if the run's attack and a suite's column share a name but not the settings.
    """
    nodes = {
        str(name): node for name, node in suite.items() if name not in (TYPES, EACH) and isinstance(node, DictConfig)
    }
    for name in nodes:
        if "@" in name or "/" in name:
            raise AdvvidError(f"the suite's column {name!r} cannot be called so: leave @ and / out of its name")
    known = (TYPES, INCLUDE, EACH, *nodes)
    odd = next((str(key) for key in suite if str(key) not in known and suite[key] is not None), None)  # null: left out
    if odd is not None:
        raise AdvvidError(f"suite.{odd}={suite[odd]!r} is no column: add an attack, as in +attack@suite.{odd}=pgd")
    attacks = {name: safe_instantiate(node) for name, node in nodes.items()}
    for name, found in attacks.items():
        require(found, Attack, f"suite.{name}")
    attacks = {name: attack for group in _groups(suite, attacks).values() for name, attack in group.items()}
    columns = [Column(name, found, found.access) for name, found in attacks.items()]
    require(suite.get(INCLUDE, False), bool, f"suite.{INCLUDE}")
    if suite.get(INCLUDE, False):
        same_name = [c for c in columns if c.name == attack_name]
        if same_name and same_name[0].attack != attack:
            raise AdvvidError(
                f"the column {attack_name} stands in the suite with other settings than attack={attack_name}: set "
                "suite.include_attack=false, or give the suite's column another name"
            )
        if all(c.attack != attack for c in columns):
            columns.append(Column(attack_name, attack, attack.access))
    seen: list[Attack] = []
    unique = []
    for column in columns:
        if column.attack not in seen:
            seen.append(column.attack)
            unique.append(column)
    if not unique:
        raise AdvvidError(
            "the suite has no attack: add one with +attack@suite.pgd=pgd or set suite.include_attack=true"
        )
    suite_types(suite, [column.name for column in unique])
    return unique


def suite_types(suite: DictConfig, known: Sequence[str]) -> Mapping[str, list[str]]:
    """Return the suite's types of attack: a name to the columns whose mean is its accuracy.

    Args:
        suite: of the configuration.
        known: names of its columns.

    Raises:
        AdvvidError: if a type names a column that the suite does not have.
    """
    given = _plain(suite, TYPES)
    require(given, Mapping[str, Sequence[str]] | None, "suite.types")
    types = {str(name): [str(member) for member in members] for name, members in (given or {}).items()}
    for name, members in types.items():
        unknown = [member for member in members if member not in known]
        if unknown or not members:
            raise AdvvidError(
                f"suite.types.{name} needs columns of the suite but has {unknown or 'none'}: choose from {', '.join(known)}"
            )
    settings = _plain(suite, EACH) or {}
    for name in map(str, suite):
        made = [f"{name}_{value}" for values in settings.values() for value in values if f"{name}_{value}" in known]
        types |= {name: made} if made and name not in known else {}
    return types


def _plain(suite: DictConfig, key: str) -> Any:
    given = suite.get(key)
    return OmegaConf.to_container(given, resolve=True) if OmegaConf.is_config(given) else given


def _groups(suite: DictConfig, attacks: Mapping[str, Attack]) -> dict[str, dict[str, Attack]]:
    """Return the columns that each attack becomes: one, or one for each value of a setting of ``suite.each``.

    Raises:
        AdvvidError: if no attack of the suite has the setting, or two columns would have one name.
    """
    settings = _plain(suite, EACH)
    require(settings, Mapping[str, Sequence[float]] | None, "suite.each")
    groups = {name: {name: attack} for name, attack in attacks.items()}
    for setting, values in (settings or {}).items():
        having = [name for name, attack in attacks.items() if hasattr(attack, setting)]
        if not having or not values:
            raise AdvvidError(
                f"suite.each.{setting} makes no column: name a setting of the suite's attacks, with its values"
            )
        for name in having:
            groups[name] = {f"{name}_{value}": attacks[name].adjusted(**{setting: value}) for value in values}
    names = [name for group in groups.values() for name in group]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise AdvvidError(f"the suite has two columns {twice!r}: rename one, or take a value out of suite.each")
    return groups

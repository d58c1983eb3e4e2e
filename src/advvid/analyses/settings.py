"""One setting of an attack over a list of values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from advvid.attacks.base import Attack
from advvid.core.allowed import hints_of
from advvid.core.errors import AdvvidError
from advvid.core.kinds import members
from advvid.core.numbers import parse_number


def numeric_settings(attack: Attack, prefix: str = "") -> Iterator[str]:
    """Yield the names of the settings that may hold a number, those of an inner attack as ``attack.eps``.

    Example:
        >>> from advvid.attacks.pgd import PGD
        >>> list(numeric_settings(PGD()))
        ['steps', 'restarts', 'eps', 'step_size']
    """
    hints = hints_of(type(attack))
    for setting in dataclasses.fields(attack):
        value = getattr(attack, setting.name)
        if isinstance(value, Attack):
            yield from numeric_settings(value, f"{prefix}{setting.name}.")
        elif _may_hold_a_number(setting.name, value, hints.get(setting.name)):
            yield prefix + setting.name


def _may_hold_a_number(name: str, value: Any, declared: Any) -> bool:
    if isinstance(value, bool) or name == "targeted":  # a class has a number, but no order
        return False
    # An optional number, such as a width or a budget, may be null now.
    return isinstance(value, int | float) or any(kind in (int, float) for kind, _ in members(declared))


def written_values(values: Sequence[float | int | str]) -> dict[str, float]:
    """Return the values in rising order, each as it was written with the number that it means.

    Raises:
        AdvvidError: if there is none, or one is no number.

    Example:
        >>> written_values(["8/255", 0, "0.0"])
        {'0': 0.0, '8/255': 0.03137254901960784}
    """
    found: dict[float, str] = {}
    for value in values:
        found.setdefault(parse_number(value, "analysis.values"), str(value).replace(" ", ""))
    if not found:
        raise AdvvidError("analysis.values is empty: give a list such as [2/255,4/255,8/255]")
    return {found[number]: number for number in sorted(found)}


def with_setting(attack: Attack, field: str, value: float) -> Attack:
    """Return the attack with one of its settings changed.

    Raises:
        AdvvidError: if there is no such setting, it holds no number, or the attack refuses the value.

    Example:
        >>> from advvid.attacks.pgd import PGD
        >>> with_setting(PGD(), "steps", 5.0).steps
        5
    """
    known = list(numeric_settings(attack))
    if field not in known:
        raise AdvvidError(
            f"analysis.field={field} is no setting of {type(attack).__name__} that holds a number: choose "
            f"{', '.join(known) or 'another attack, since this one has none'}"
        )
    name, _, inner = field.partition(".")
    now = getattr(attack, name)
    new: Any = with_setting(now, inner, value) if inner else value
    if not inner and value.is_integer() and not isinstance(now, float):
        new = int(value)
    try:
        return dataclasses.replace(attack, **{name: new})
    except AdvvidError as error:
        raise AdvvidError(f"analysis.values: {value:g} is not possible for {field} ({error})") from None

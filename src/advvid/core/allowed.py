"""What a setting may be: declared once, in its annotation, and checked here wherever it comes from.

``steps: Count = 20`` in the signature of a class is the declaration. A configuration is held against it before anything
is made (``advvid.config.instantiate``), and a class made from Python holds itself against it (``checked``).
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import numbers
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen

from advvid.core.describe import describe, shown
from advvid.core.errors import AdvvidError
from advvid.core.kinds import LARGEST, Odd, Path, Rules, bound, members, numeral, plain
from advvid.core.numbers import parse_number


def require(value: Any, annotation: Any, name: str) -> None:
    """Refuse a value that its declaration does not allow.

    Args:
        value: of the setting, as Python objects.
        annotation: of the setting, such as ``Annotated[int, Ge(1)]``, ``Literal["a", "b"] | None`` or a class.
        name: of the setting, as the user knows it.

    Raises:
        AdvvidError: with the setting, the value and what is possible.

    Example:
        >>> require(0, Count, "schedule.batch_size")
        Traceback (most recent call last):
        advvid.core.errors.AdvvidError: schedule.batch_size=0 is not possible: choose a whole number of at least 1
    """
    if not fits(value, annotation):
        place, found, wanted = _misfit(value, annotation, name)
        known = "known" if isinstance(found, str) and _words(wanted) else "possible"
        large = f" (of at most {LARGEST})" if isinstance(found, int) and abs(found) > LARGEST else ""
        raise AdvvidError(f"{place}={shown(found)} is not {known}: choose {describe(wanted)}{large}")


def require_all(values: Mapping[str, Any], hints: Mapping[str, Any], prefix: str = "") -> None:
    """Refuse the first of several values that its declaration does not allow; what is not declared passes."""
    for name, value in values.items():
        if name in hints:
            require(value, hints[name], f"{prefix}{name}")


def hints_of(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the declarations of what a class or function takes, by argument."""
    return dict(_hints(target))


@functools.cache
def _hints(target: Any) -> Mapping[str, Any]:
    # A dataclass inherits fields, whose annotations are to be read where they were written.
    source = target if dataclasses.is_dataclass(target) or not isinstance(target, type) else target.__init__  # type: ignore[misc]
    try:
        found = get_type_hints(source, include_extras=True)
    except (NameError, TypeError):  # of a library; ours are held to be readable by a test
        return {}
    found.pop("return", None)
    if dataclasses.is_dataclass(target):
        settable = {f.name for f in dataclasses.fields(target) if f.init}
        return {name: hint for name, hint in found.items() if name in settable}
    return found


Made = TypeVar("Made", bound=type)


def checked(cls: Made) -> Made:
    """Make a class hold its arguments against their annotations, and turn fractions into numbers; a decorator.

    It is for a class with an ``__init__`` of its own; a dataclass calls ``check_fields`` in its ``__post_init__``.

    Raises:
        AdvvidError: when the class is called with something else.
    """
    make = cls.__init__  # type: ignore[misc]
    signature = inspect.signature(make)

    @functools.wraps(make)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> None:
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        hints = _hints(cls)
        require_all(given.arguments, hints, f"{type(self).__name__}.")
        given.arguments.update(_read(given.arguments, hints))
        make(*given.args, **given.kwargs)

    cls.__init__ = guarded  # type: ignore[misc]
    return cls


def check_fields(made: Any) -> None:
    """Hold the fields of a dataclass against their annotations and turn fractions into numbers; for ``__post_init__``.

    Raises:
        AdvvidError: naming the class and the field.
    """
    hints = hints_of(type(made))
    values = {name: getattr(made, name) for name in hints}
    require_all(values, hints, f"{type(made).__name__}.")
    for name, value in _read(values, hints).items():
        object.__setattr__(made, name, value)  # some are frozen


def _read(values: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, float]:
    """Return as numbers the values that may be written as fractions, and are no words."""
    found = {}
    for name, value in values.items():
        rules = [numeral(rules) for _, rules in members(hints.get(name, Any))]
        if any(rule is not None and not rule.words for rule in rules) and value is not None:
            found[name] = parse_number(value, name)
    return found


def fits(value: Any, annotation: Any, rules: Rules = ()) -> bool:
    """Tell whether a value is what an annotation says."""
    base, rules = plain(annotation, rules)
    origin, inner = get_origin(base), get_args(base)
    if origin in (Union, types.UnionType):
        return any(fits(value, member, rules) for member in inner)
    if origin is Literal:
        return any(type(value) is type(word) and value == word for word in inner)
    if origin in (list, tuple, Sequence):
        if not isinstance(value, list | tuple) or not _within(len(value), rules, (MinLen,)):
            return False
        fixed = origin is tuple and Ellipsis not in inner
        return (
            all(map(fits, value, inner)) and len(value) == len(inner)
            if fixed
            else all(fits(v, inner[0]) for v in value)
        )
    if origin in (dict, Mapping):
        sized = isinstance(value, Mapping) and _within(len(value), rules, (MinLen,))
        return sized and all(fits(v, inner[1]) for v in value.values())
    if isinstance(value, str) and (base is str or (base is float and numeral(rules))):
        return _is_text(value, rules)
    if base in (int, float):
        kind = numbers.Integral if base is int else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool) and _is_in_range(value, rules)
    if base is str:
        return False
    if base is None or base is types.NoneType:
        return value is None
    kind = origin or base
    if kind is Callable:
        return callable(value)
    if getattr(kind, "_is_protocol", False) and not getattr(kind, "_is_runtime_protocol", False):
        return True  # cannot be told
    return not isinstance(kind, type) or isinstance(value, kind)


def _is_in_range(value: Any, rules: Rules) -> bool:
    if not math.isfinite(value) or (isinstance(value, int) and abs(value) > LARGEST and not bound(rules, Le)):
        return False
    odd = not any(isinstance(rule, Odd) for rule in rules) or value % 2 == 1
    return odd and _within(value, rules, (Ge, Gt, Le, Lt))


def _within(value: Any, rules: Rules, kinds: tuple[type, ...]) -> bool:
    tests: dict[type, Callable[[Any], bool]] = {
        Ge: lambda rule: value >= rule.ge,
        Gt: lambda rule: value > rule.gt,
        Le: lambda rule: value <= rule.le,
        Lt: lambda rule: value < rule.lt,
        MinLen: lambda rule: value >= rule.min_length,
    }
    return all(tests[type(rule)](rule) for rule in rules if isinstance(rule, kinds))


def _is_text(value: str, rules: Rules) -> bool:
    rule = numeral(rules)
    if rule is None:
        return bool(value.strip()) and (value.isprintable() or ("\0" not in value and bound(rules, Path)))
    if value in rule.words:
        return True
    try:
        return _is_in_range(parse_number(value), rules)
    except AdvvidError:
        return False


def _words(annotation: Any) -> bool:
    """Tell whether an annotation allows some words alone."""
    return any(
        get_origin(base) is Literal or ((rule := numeral(rules)) is not None and bool(rule.words))
        for base, rules in members(annotation)
    )


def _misfit(value: Any, annotation: Any, name: str) -> tuple[str, Any, Any]:
    """Return the innermost value that does not fit, with its name and what it should have been."""
    for base, _ in members(annotation):
        origin, inner = get_origin(base), get_args(base)
        items: list[tuple[str, Any, Any]] = []
        if isinstance(value, list | tuple) and origin in (list, tuple, Sequence) and len(inner) in (1, 2, len(value)):
            wanted = [inner[0]] * len(value) if origin is not tuple or Ellipsis in inner else inner
            items = [(f"{name}[{i}]", v, w) for i, (v, w) in enumerate(zip(value, wanted, strict=False))]
        elif isinstance(value, Mapping) and origin in (dict, Mapping):
            items = [(f"{name}.{key}", v, inner[1]) for key, v in value.items()]
        for place, found, wanted in items:
            if not fits(found, wanted):
                return _misfit(found, wanted, place)
    return name, value, annotation

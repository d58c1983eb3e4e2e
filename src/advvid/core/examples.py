"""Values that a setting may have and values that it may not have, from its declaration alone.

Tests that hold for every option take their values from here.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from advvid.core.allowed import fits
from advvid.core.kinds import LARGEST, Odd, Path, Rules, members, numeral

# Of these, a setting must refuse all that its declaration does not allow.
SUSPECTS: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, -0.5, 0.5, 1.5, 1e30, 2**70, -(2**70), math.inf, -math.inf, math.nan, "", " ", "maybe", "nan",
    "-inf", ".nan", "1e999999999", "1/0", "8//255", "-8/255", "two\nlines", "\0", [], [1], ["a", 2], [[]], [None], {}, {"a": 1},
)  # fmt: skip


def examples(annotation: Any) -> tuple[list[Any], list[Any]]:
    """Return values that a declaration allows, and values that it does not.

    Args:
        annotation: see ``advvid.core.allowed.require``.

    Returns:
        The valid values, each once, none where only objects of a class will do; and the invalid ones.

    Example:
        >>> examples(Annotated[int, Ge(1)])[0]
        [1, 2, 3]
    """
    candidates = [value for base, rules in members(annotation) for value in _candidates(base, rules)]
    valid: list[Any] = []
    for value in candidates:
        if fits(value, annotation) and not any(type(value) is type(v) and value == v for v in valid):
            valid.append(value)
    invalid = [value for value in (*SUSPECTS, *_outside(annotation)) if not fits(value, annotation)]
    return valid, invalid


def _candidates(base: Any, rules: Rules) -> Iterable[Any]:
    """Yield values near the edges of what one member of an annotation allows."""
    origin, inner = get_origin(base), get_args(base)
    if origin is Literal:
        return inner
    if base is bool:
        return (False, True)
    if base is None or base is types.NoneType:
        return (None,)
    if base is int:
        low, _ = _edges(rules)
        step = 2 if any(isinstance(rule, Odd) for rule in rules) else 1
        return [math.ceil(low or 0) + step * i for i in range(4)]
    if base is float:
        return _numbers(rules)
    rule = numeral(rules)
    if base is str and rule is not None:
        return (*rule.words, "1/255", "3/2")
    if base is str:
        return ("/nowhere/a b", "/nowhere/c=[d]") if any(isinstance(r, Path) for r in rules) else ("a", "two words")
    if origin in (list, tuple, Sequence):
        items = [examples(member)[0] for member in inner if member is not Ellipsis]
        if origin is tuple and Ellipsis not in inner:
            return [list(each) for each in zip(*items, strict=False)]
        return ([], *([value] for value in items[0]))
    if origin in (dict, Mapping):
        return ({}, *({"a": value} for value in examples(inner[1])[0]))
    return ()


def _edges(rules: Rules) -> tuple[Any, Any]:
    """Return the least and the largest number that rules name, None where they name none."""
    low: list[Any] = [rule.ge if isinstance(rule, Ge) else rule.gt for rule in rules if isinstance(rule, Ge | Gt)]
    high: list[Any] = [rule.le if isinstance(rule, Le) else rule.lt for rule in rules if isinstance(rule, Le | Lt)]
    return (low or [None])[-1], (high or [None])[-1]


def _numbers(rules: Rules) -> list[float]:
    low, high = _edges(rules)
    if low is not None and high is not None:
        return [low, (low + high) / 2, (3 * low + high) / 4, high]
    if high is not None:
        return [high, high - 0.25, high - 1.5]
    return [low or 0.0, (low or 0.0) + 0.25, (low or 0.0) + 1.5]


def _outside(annotation: Any) -> list[Any]:
    """Return numbers at and beyond the bounds of an annotation, and words near those that it knows."""
    found: list[Any] = []
    for base, rules in members(annotation):
        for edge, away in zip(_edges(rules), (-1, 1), strict=True):
            if edge is not None:
                found += [edge, edge + away, edge + away * (LARGEST if base is int else 1e-6)]
        if get_origin(base) is Literal:
            found += [f"{word}x" for word in get_args(base) if isinstance(word, str)]
    return found

"""What a setting may be, in words."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen

from advvid.core.escape import clipped
from advvid.core.kinds import Odd, Path, Rules, bound, members, numeral


def describe(annotation: Any) -> str:
    """Put into words what an annotation allows.

    Example:
        >>> describe(Annotated[int, Ge(0)] | Literal["auto"])
        'a whole number of at least 0, or auto'
    """
    allowed = list(members(annotation))
    said = list(dict.fromkeys(_said(base, rules) for base, rules in allowed))
    return ", or ".join(sorted(said, key=lambda words: words == "null"))


def _said(base: Any, rules: Rules) -> str:
    origin, inner = get_origin(base), get_args(base)
    if origin is Literal:
        return _listed(inner)
    if origin is tuple and Ellipsis not in inner:
        return f"a list of {len(inner)}, each of it {describe(inner[0])}"
    if origin in (list, tuple, Sequence):
        return f"a list{_least(rules)}, each of it {describe(inner[0])}"
    if origin in (dict, Mapping):
        return f"a mapping{_least(rules)}, each of it {describe(inner[1])}"
    if base is int:
        return f"{'an odd' if bound(rules, Odd) else 'a whole'} number{_range(rules)}"
    rule = numeral(rules)
    if base is float and rule is None:
        return f"a number{_range(rules)}"
    if rule is not None:
        return f"a number{_range(rules)}{_listed(('', 'a fraction such as 8/255', *rule.words))}"
    if base is str:
        return "a path" if bound(rules, Path) else "a word that is not empty"
    if base is bool:
        return "true or false"
    if base is None or base is types.NoneType:
        return "null"
    kind = origin or base
    return f"a node whose _target_ is a kind of {kind.__name__}" if isinstance(kind, type) else "something to call"


def _least(rules: Rules) -> str:
    """Put the least length among rules into words."""
    return "".join(f" of at least {rule.min_length}" for rule in rules if isinstance(rule, MinLen))


def _listed(words: Sequence[Any]) -> str:
    """Return words as ``a, b or c``."""
    *first, last = map(str, words)
    return f"{', '.join(first)} or {last}" if first else last


def _range(rules: Rules) -> str:
    """Put the bounds among rules into words; a later rule is the narrower one."""
    low: Any = next((rule for rule in reversed(rules) if isinstance(rule, Ge | Gt)), None)
    high: Any = next((rule for rule in reversed(rules) if isinstance(rule, Le | Lt)), None)
    if isinstance(low, Ge) and isinstance(high, Le):
        return f" from {low.ge} to {high.le}"
    said = [] if low is None else [f"of at least {low.ge}" if isinstance(low, Ge) else f"above {low.gt}"]
    said += [] if high is None else [f"at most {high.le}" if isinstance(high, Le) else f"below {high.lt}"]
    return "".join(f" {words}" for words in (" and ".join(said),) if words)


def shown(value: Any, most: int = 80) -> str:
    """Return a value as one short line, an object by its class."""
    plain = value is None or isinstance(value, str | int | float | list | tuple | dict)
    text = repr(value) if plain else type(value).__name__
    return clipped(text, most)

"""The kinds of settings: types with their ranges, which the signatures of classes are written in."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le

# No count of anything here comes near it, and what is larger does not fit into a tensor's sizes.
LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Numeral:
    """Says that a ``float | str`` is a number, a fraction such as ``8/255``, or one of a few words."""

    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Odd:
    """Says that a whole number is odd."""


@dataclass(frozen=True)
class Path:
    """Says that a string is the name of a file or folder, which may hold every character."""


# What an adversarial clip is put through before it is scored once more, and the codecs for it.
Postprocess = Literal["uint8", "codec"]
CodecName = Literal["libx264", "mpeg4", "ffv1"]
Count = Annotated[int, Ge(1)]
Whole = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
# The same for settings that may be written as fractions; the class reads them with ``parse_number``.
Number = Annotated[float | str, Numeral()]
PositiveNumber = Annotated[float | str, Numeral(), Gt(0)]
NotNegativeNumber = Annotated[float | str, Numeral(), Ge(0)]
ShareNumber = Annotated[float | str, Numeral(), Ge(0), Le(1)]
# See ``advvid.attacks.base.resolve_step``.
Step = Annotated[float | str, Numeral(("optimal", "optimal/2", "eps")), Ge(0)]
FilePath = Annotated[str, Path()]

Rules = tuple[Any, ...]


def plain(annotation: Any, rules: Rules = ()) -> tuple[Any, Rules]:
    """Return an annotation without its rules, and the rules."""
    if get_origin(annotation) is Annotated:
        base, *own = get_args(annotation)
        return plain(base, (*rules, *own))
    return annotation, rules


def numeral(rules: Rules) -> Numeral | None:
    """Return the rule that a string is a number, if it stands among rules."""
    return next((rule for rule in rules if isinstance(rule, Numeral)), None)


def bound(rules: Rules, kind: type) -> bool:
    """Tell whether a kind of rule stands among rules."""
    return any(isinstance(rule, kind) for rule in rules)


def members(annotation: Any) -> Iterator[tuple[Any, Rules]]:
    """Yield the types that an annotation allows, each with its rules."""
    base, rules = plain(annotation)
    if get_origin(base) not in (Union, types.UnionType):
        yield base, rules
        return
    for member in get_args(base):
        for inner, own in members(member):
            yield inner, (*rules, *own)

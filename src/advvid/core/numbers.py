"""The numbers that users write."""

from __future__ import annotations

import math
from fractions import Fraction

from advvid.core.errors import AdvvidError


def parse_number(value: float | int | str, name: str = "value") -> float:
    """Read a number that may be written as a fraction, such as ``"8/255"`` or ``"3.25/255"``.

    Raises:
        AdvvidError: if ``value`` is neither a finite number nor a fraction.

    Example:
        >>> parse_number("8/255") == 8 / 255
        True
    """
    try:
        fraction = isinstance(value, str) and "/" in value
        number = _fraction(str(value).replace(" ", "")) if fraction else float(value)
    except (ValueError, ZeroDivisionError, TypeError, OverflowError):
        raise AdvvidError(
            f"{name}={value!r} is not a number: write it as 0.03 or as a fraction such as 8/255"
        ) from None
    if not math.isfinite(number):
        raise AdvvidError(f"{name}={value!r} is not a finite number: write it as 0.03 or as a fraction such as 8/255")
    return number


def _fraction(text: str) -> float:
    """Read a fraction exactly, so that "8/255" and 8/255 are the same float; one with an exponent would take all memory."""
    top, _, bottom = text.partition("/")
    if "e" in top.lower():
        raise ValueError(text)
    return float(Fraction(top) / int(bottom))

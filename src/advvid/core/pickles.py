"""A look at a pickle before it is loaded: how far its tuples unfold.

PyTorch's restricted reader runs no code, but it hashes what the file uses as keys, and a tuple that holds another one
twice, which holds another one twice, ... is a few hundred bytes and takes for ever to hash.
"""

from __future__ import annotations

import pickletools
from typing import Any

MOST_UNFOLDED = 1_000_000
_MARK = pickletools.markobject
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")


def unfolds(data: bytes) -> bool:
    """Tell whether a tuple of a pickle holds more than a million values once all that it shares is written out.

    Example:
        >>> shared = ()
        >>> for _ in range(40):
        ...     shared = (shared, shared)
        >>> unfolds(pickle.dumps(shared, 2)), unfolds(pickle.dumps({(1, 2): [3]}, 2))
        (True, False)

    Raises:
        ValueError: if it is no pickle.
    """
    # A number per value on the stack: how many values a tuple holds, 1 for all else. None is a mark.
    stack: list[int | None] = []
    memo: dict[Any, int] = {}
    for opcode, argument, _ in pickletools.genops(data):
        name, taken, left = opcode.name, opcode.stack_before, opcode.stack_after
        if name in _PUTS or name == "MEMOIZE":
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1] or 1
            continue
        if name in _GETS:
            stack.append(memo[argument])
            continue
        sizes: list[int] = []
        if _MARK in taken or name == "POP_MARK":
            while (size := stack.pop()) is not None:
                sizes.append(size)
            taken = taken[: taken.index(_MARK)] if _MARK in taken else []
        sizes += [stack.pop() or 1 for _ in taken]
        if name == "DUP":
            stack += [sizes[0], sizes[0]]
        elif name.startswith("TUPLE"):
            stack.append(1 + sum(sizes))
            if 1 + sum(sizes) > MOST_UNFOLDED:
                return True
        else:
            stack += [None if kind is _MARK else 1 for kind in left]
    return False

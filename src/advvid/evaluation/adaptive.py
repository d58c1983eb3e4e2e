"""A table's columns against purifiers: each attack goes through them, and stands beside one that knows nothing of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from advvid.evaluation.columns import Column, with_views
from advvid.purifiers.purified import PurifiedModel


def behind_purifiers(
    columns: Sequence[Column], system: PurifiedModel, samples: int, oblivious: bool = True
) -> list[Column]:
    """Return a table's columns as they run against purifiers.

    Every white-box column becomes adaptive: it goes through the purifiers, by BPDA and over ``samples`` draws as these
    demand, and is followed by ``<name>@oblivious``, whose attacker knows the bare model alone. Against random
    purifiers no attack stops early, since a draw that fools by luck says little about the next. A black-box attacker
    asks the whole system.

    Args:
        columns: of the table, companions of the defense included.
        system: as it is scored.
        samples: draws per gradient or question.
        oblivious: False leaves out ``<name>@oblivious``.
    """
    seen = system.view(samples)
    found = []
    for column in with_views(columns, {"oblivious": system.model} if oblivious else {}):
        if column.seen is not None or column.attack.control:
            found.append(column)
            continue
        attack = column.attack.adjusted(early_exit=False, keep="last") if system.random else column.attack
        access = "adaptive" if column.access == "white_box" else column.access
        found.append(dataclasses.replace(column, attack=attack, access=access, seen=seen, passes=seen.passes))
    return found

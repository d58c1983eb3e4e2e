"""Cells that are made of other cells of their table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from advvid.studies.cell import Cell
from advvid.studies.plan import CellPlan

# By the measure's name; ``over`` names the cells, each a column of the same row or ``row/column``.
MADE: Mapping[str, Callable[[Sequence[float]], float]] = {
    "row_mean": lambda values: sum(values) / len(values),
    "row_difference": lambda values: values[0] - values[1],
    # By how many percent the first is above the second, and how many percent of it it is.
    "relative": lambda values: 100 * (values[0] - values[1]) / values[1],
    "share": lambda values: 100 * values[0] / values[1],
}
PERCENT = ("row_mean", "relative", "share")
Rows = Mapping[str, Mapping[str, Cell]]


def fill_made(rows: Rows, plans: Mapping[str, Mapping[str, CellPlan]]) -> dict[str, dict[str, Cell]]:
    """Return the rows with the cells that are made of others, once these are there."""
    filled = {name: dict(row) for name, row in rows.items()}
    for name, row in plans.items():
        for column, plan in row.items():
            if plan.measure in MADE:
                filled[name][column] = _made(filled, name, plan, filled[name][column])
    return filled


def _made(rows: Rows, name: str, plan: CellPlan, cell: Cell) -> Cell:
    places = [place if "/" in place else f"{name}/{place}" for place in plan.options["over"]]
    members = [rows[one][two].measured for one, _, two in (place.partition("/") for place in places)]
    found = [member for member in members if member is not None]
    if len(found) < len(places):
        return replace(cell, why_missing=f"made with {places[members.index(None)]}, which is missing")
    try:
        value = MADE[plan.measure]([member.value for member in found])
    except ZeroDivisionError:
        return replace(cell, why_missing=f"made with {places[1]}, which is 0")
    return replace(cell, measured=replace(found[0], value=value, ci95=None, range=None, each=()), why_missing="")

"""Verdicts from cells, and the tables as JSON and Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from advvid.core.batch import derive_seed
from advvid.metrics.statistics import bootstrap_difference, wilson
from strength_cells import Cell, Row

YES, WITHIN, NO, FAILS = "yes", "within interval", "no", "peer fails"
# Two searches that stop at the same place differ by rounding and by the last halving.
SAME = 1e-3


@dataclass(frozen=True)
class Verdict:
    """Whether ours is at least as strong as a peer on the same clips.

    Args:
        difference: our accuracy minus the peer's; positive where ours is weaker.
        ci95: of the difference, paired bootstrap over clips.
        further: by which part our changes are longer than the peer's, on clips that both fool; None where distances
            are not compared.
        further_ci95: of that, paired bootstrap.
        both: number of those clips.
        says: yes, within interval, no, or peer fails.
    """

    difference: float
    ci95: tuple[float, float]
    further: float | None
    further_ci95: tuple[float, float] | None
    both: int
    says: str


def verdict(ours: Cell, theirs: Cell, row: Row, seed: int = 0) -> Verdict:
    """Compare two cells of a row, clip by clip."""
    rng = np.random.default_rng(derive_seed(seed, row.name, theirs.title))
    if theirs.failed:
        return Verdict(0.0, (0.0, 0.0), None, None, 0, FAILS)
    difference, ci95 = bootstrap_difference(ours.right, theirs.right, rng)
    says = [_says(difference, ci95[0])]
    pairs = [(a, b) for a, b in zip(ours.distance, theirs.distance, strict=True) if a is not None and b is not None]
    further, further_ci = None, None
    if row.minimal:
        # A clip that only one of the two fools at any distance counts here, the others below.
        missed, missed_ci = bootstrap_difference([1 - f for f in ours.fooled], [1 - f for f in theirs.fooled], rng)
        says.append(_says(missed, missed_ci[0]))
        if pairs and (scale := float(np.mean([b for _, b in pairs]))) > 0:
            first, second = ([pair[i] / scale for pair in pairs] for i in (0, 1))
            further, further_ci = bootstrap_difference(first, second, rng)
            says.append(_says(further, further_ci[0], SAME))
    return Verdict(difference, ci95, further, further_ci, len(pairs), max(says, key=(YES, WITHIN, NO).index))


def _says(worse: float, low: float, room: float = 0.0) -> str:
    """Judge by how much ours is worse, and the lower end of the interval."""
    if worse <= room:
        return YES
    return WITHIN if low <= room else NO


def entry(subject: str, row: Row, ours: Cell, theirs: Cell, peer: object, seed: int) -> dict[str, Any]:
    """Return a line of the table as plain values."""
    found = verdict(ours, theirs, row, seed)
    return {
        "model": subject,
        "row": row.name,
        "settings": row.settings,
        "measure": row.measure,
        "peer": theirs.title,
        "ours": _summary(ours),
        "theirs": None if theirs.failed else _summary(theirs),
        "peer_settings": repr(peer),
        "our_settings": repr(row.ours),
        "layout": theirs.layout,
        "fails_on_clips": theirs.error,
        "peer_out_of_bounds": theirs.broken,
        "out_of_bounds": ours.broken,
        "difference": found.difference,
        "ci95": found.ci95,
        "further": found.further,
        "further_ci95": found.further_ci95,
        "both_fooled": found.both,
        "verdict": found.says,
    }


def _summary(cell: Cell) -> dict[str, Any]:
    far = [d for d in cell.distance if d is not None]
    return {
        "acc": sum(cell.right) / len(cell.right),
        "ci95": wilson(sum(cell.right), len(cell.right)),
        "mean_distance": float(np.mean(far)) if far else None,
        "median_distance": float(np.median(far)) if far else None,
        "asked": cell.asked,
        "fooled": len(far),
        "seconds": cell.seconds,
    }


def percent(value: float) -> str:
    """Return a fraction in percent."""
    return f"{100 * value:.1f}"


def full_table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the table of one model, a line per peer."""
    head = [
        "| attack (settings) | peer | gets clips as | acc. ours | acc. peer | ours - peer [95%] | distance ours | peer | "
        "ours is longer by [95%] | at least as strong |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for line in lines:
        theirs, ours = line["theirs"], line["ours"]
        name = f"{line['row']} ({line['settings']})"
        if theirs is None:
            error = f"fails on clips: {line['fails_on_clips'][:90]}"
            head.append(
                f"| {name} | {line['peer']} | {error} | {percent(ours['acc'])} | | | {_far(line, ours)} | | | {FAILS} |"
            )
            continue
        seen = line["layout"] + (f", fails on clips: {line['fails_on_clips'][:60]}" if line["fails_on_clips"] else "")
        broken = f"; {line['peer_out_of_bounds']} clips out of bounds" if line["peer_out_of_bounds"] else ""
        low, high = line["ci95"]
        further = ""
        if line["further"] is not None:
            further = (
                f"{percent(line['further'])}% [{percent(line['further_ci95'][0])}, {percent(line['further_ci95'][1])}]"
            )
        head.append(
            f"| {name} | {line['peer']} | {seen}{broken} | {percent(ours['acc'])} | {percent(theirs['acc'])} | "
            f"{percent(line['difference'])} [{percent(low)}, {percent(high)}] | {_far(line, ours)} | {_far(line, theirs)} | "
            f"{further} | {line['verdict']} |"
        )
    return "\n".join(head).replace("[B, 3, T, H, W]", "clips") + "\n"


def smallest_table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the table of searches for the smallest change, with medians over the fooled clips; empty where there is none."""
    rows = []
    for line in lines:
        ours, theirs = line["ours"], line["theirs"]
        if line["further"] is None or theirs is None:
            continue
        low, high = line["further_ci95"]
        rows.append(
            f"| `{line['row']}` | {line['peer']} | {ours['fooled']} | {theirs['fooled']} | {ours['asked']:,.0f} | "
            f"{theirs['asked']:,.0f} | {ours['median_distance']:.4g} | {theirs['median_distance']:.4g} | "
            f"{ours['median_distance'] / theirs['median_distance']:.3f} | "
            f"{percent(line['further'])}% [{percent(low)}, {percent(high)}] | {line['verdict']} |"
        )
    head = [
        "| smallest change | peer | fooled, ours | peer | shown to the model for a clip, ours | peer | median distance, ours | peer | "
        "ratio | mean is longer by [95%] | at least as strong |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    return "\n".join([*head, *rows]) + "\n" if rows else ""


def _far(line: dict[str, Any], cell: dict[str, Any]) -> str:
    far = cell["mean_distance"]
    if far is None:
        return "none fooled"
    return f"{255 * far:.2f}/255" if line["measure"] in ("l-inf", "mean change") else f"{far:.3g}"


def summary(result: dict[str, Any]) -> str:
    """Return the short table: a line per model."""
    lines = [
        f"One run of `python scripts/compare_attacks.py`, seed {result['seed']}: same clips, budget, steps and step size for advvid and",
        f"{', '.join(f'{name} {number}' for name, number in result['versions'].items() if name != 'advvid')}.",
        "A line of the full table (`outputs/published/attack_strength.md`) is one of our attacks against one peer, paired clip by clip:",
        "at least as strong, weaker by a figure whose 95% interval includes 0 (within), or weaker (no).",
        "",
        "| model | n | clean | lines | at least as strong | within | no | peer fails | AutoAttack against PGD of 100 steps |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, model in result["models"].items():
        own = [line for line in result["lines"] if line["model"] == name]
        peers = [line for line in own if not line["peer"].startswith("advvid.")]
        count = Counter(line["verdict"] for line in peers)
        against = "; ".join(
            f"{percent(line['ours']['acc'])} ≤ {percent(line['theirs']['acc'])} at {line['row'].split(' at ')[1]}"
            if line["difference"] <= 0
            else f"{percent(line['ours']['acc'])} > {percent(line['theirs']['acc'])} at {line['row'].split(' at ')[1]}"
            for line in own
            if line["row"].startswith("auto_attack at")
        )
        lines.append(
            f"| {model['title']} | {model['n']} | {percent(model['clean'])} | {len(peers)} | {count[YES]} | {count[WITHIN]} | "
            f"{count[NO]} | {count[FAILS]} | {against} |"
        )
    for line in result["lines"]:
        if line["row"].startswith("square at") and line["model"] == "benign":
            low, high = (percent(-end) for end in reversed(line["ci95"]))
            lines += [
                "",
                f"Square ({line['settings']}) against random noise of {line['row'].split(' at ')[1]} on the model without defense: "
                f"{percent(line['ours']['acc'])} against {percent(line['theirs']['acc'])}, "
                f"{percent(-line['difference'])} points stronger [{low}, {high}].",
            ]
    return "\n".join(lines) + "\n"


def document(result: dict[str, Any]) -> str:
    """Return the whole published Markdown file."""
    parts = ["# Strength of the attacks\n", summary(result)]
    parts.append(
        "How to read the tables: accuracies in percent (clips wrong on clean count as wrong; a peer's clip outside its bounds does\n"
        "not count as fooled). *Gets clips as*: clips are `[B, 3, T, H, W]`; where a peer fails on those it gets them through a\n"
        "shape adapter, as `tall` pictures `[B, 3, T*H, W]`, as `channels` `[B, 3*T, H, W]` or `last` `[B, T, H, W, 3]`. Distances are\n"
        "means over fooled clips; *ours is longer by* compares them on the clips that both fool, for attacks that look for the\n"
        f"smallest change (up to {percent(SAME)}% counts as equal). " + " ".join(result["notes"]) + "\n"
    )
    for name, model in result["models"].items():
        lines = [line for line in result["lines"] if line["model"] == name]
        clean = f"clean {percent(model['clean'])}% [{percent(model['ci95'][0])}, {percent(model['ci95'][1])}]"
        parts.append(
            f"## {model['title']}\n\nn = {model['n']}, {clean}. {model['about']}\n\n```\n{model['command']}\n```\n"
        )
        parts.append(full_table(lines))
        parts.append(smallest_table(lines))
    return "\n".join(parts)

"""Writing what was measured: the tables."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from advvid.evaluation.results import commit
from benchmarks.measure import Setup

# The parts of a section by name: what ``benchmark.measured`` returns.
Parts = Mapping[str, dict[str, Any]]


def results(parts: Parts) -> list[dict[str, Any]]:
    """Return what the parts of a section measured."""
    return [part["result"] for part in parts.values()]


def head(sections: Mapping[str, Parts], command: str) -> list[str]:
    """Return on what was measured, and how busy the machine was."""
    parts = [part for section in sections.values() for part in section.values()]
    about = parts[0]["machine"]
    loads = [load for part in parts for load in part["load"]]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    place = about["gpu"] or f"{about['processor']}, {about['cores']} cores, {about['threads']} thread(s)"
    how = (
        "seconds are those of the processor that the one thread used, without waiting for others"
        if about["processor_time"]
        else "seconds are those of the clock"
    )
    busy = (
        f"Load average of the machine from {min(loads):.1f} to {max(loads):.1f} (median {statistics.median(loads):.1f}), this run "
        f"included; {how}, and ratios are taken within a round."
    )
    limits = sorted({part["rounds"] for part in parts if part.get("rounds")})
    fewer = f", some parts with `--rounds {limits[0]}`" if limits else ""
    return [
        f"{place}; Python {about['python']}, {versions}.",
        busy,
        f"Made by `{command}`{fewer}, in {sum(part['seconds'] for part in parts) / 60:.0f} minutes.",
    ]


def reached(sections: Mapping[str, Parts], modules: Mapping[str, Any], gpu: bool) -> list[dict[str, Any]]:
    """Return what every section has to reach, and whether it does."""
    return [
        {"what": what, "wanted": wanted, "reached": value, "holds": holds}
        for name, parts in sections.items()
        if parts
        for what, wanted, value, holds in modules[name].targets(results(parts), gpu)
    ]


def document(
    sections: Mapping[str, Parts], modules: Mapping[str, Any], gpu: bool, command: str, missing: Sequence[str] = ()
) -> str:
    """Return all tables as Markdown; ``missing`` names parts that were not measured."""
    text = [
        "# Speed and memory",
        "",
        *head(sections, command),
        *([f"**Not measured in this run: {', '.join(missing)}.**"] if missing else []),
        "",
        "`a / b` is how many times as fast as b a is, unless it says otherwise: the median of rounds in which both ran one after the",
        "other, lowest and highest in brackets, number of rounds in parentheses.",
        "",
        "| has to be reached | at least (or at most) | is | |",
        "|---|---:|---:|---|",
    ]
    for row in reached(sections, modules, gpu):
        text.append(
            f"| {row['what']} | {row['wanted']:.3g} | {row['reached']:.3g} | {'yes' if row['holds'] else '**no**'} |"
        )
    for name, parts in sections.items():
        if parts:
            text += ["", *modules[name].lines(results(parts))]
    return "\n".join(text) + "\n"


def publish(sections: Mapping[str, Parts], modules: Mapping[str, Any], setup: Setup, command: str) -> None:
    """Write the tables to the target."""
    missing = [
        f"{name} {key}" for name, parts in sections.items() for key in modules[name].parts(setup) if key not in parts
    ]
    setup.target.mkdir(parents=True, exist_ok=True)
    name = f"speed_{'gpu' if setup.gpu else 'cpu'}"
    goals = reached(sections, modules, setup.gpu)
    whole = {"command": command, "commit": commit(), "reached": goals, "missing": missing, "sections": sections}
    (setup.target / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n")
    (setup.target / f"{name}.md").write_text(document(sections, modules, setup.gpu, command, missing))

"""The tables of the page on fidelity: systems, and settings of the plans that differ from what is recorded of a paper."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import yaml

from advvid.studies import recorded

SYSTEMS = Path(__file__).resolve().parent.parent / "docs" / "systems.yaml"


def systems() -> str:
    """Return the table of all systems: definition, class, default, differences, tests."""
    rows = []
    for name, system in yaml.safe_load(SYSTEMS.read_text(encoding="utf-8")).items():
        code = ", ".join(f"`{place.rsplit('.', 1)[-1]}`" for place in system["code"])
        tests = _names(system["tests"])
        if "behaviour" in system:
            tests += ("<br>" if tests else "") + "*behaviour only:*<br>" + _names(system["behaviour"])
        default = system["default"] + (f"<br>*Differs:* {system['differs']}" if "differs" in system else "")
        rows.append([name, f"{system['what']}<br>{code}", system["source"], default, tests])
    return table(["", "system", "defined in", "default", "held by the test"], rows)


def differences() -> str:
    """Return the table of settings that differ, trainings of one difference together."""
    found = defaultdict(list)
    for setting in recorded.differences():
        key = (setting.paper, setting.option, str(setting.recorded), str(setting.plan), setting.because)
        found[key].append(setting.work)
    rows = [
        [f"{paper}: {_few(works)}", f"`{option}`", f"{theirs} → `{ours}`", because]
        for (paper, option, theirs, ours, because), works in found.items()
    ]
    return table(["where", "option", "recorded → plan", "because"], rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _names(tests: list[str]) -> str:
    return "<br>".join(f"`{place.rsplit('::test_', 1)[-1]}`" for place in tests)


def _few(works: list[str], shown: int = 4) -> str:
    more = f" and {len(works) - shown} more" if len(works) > shown else ""
    return ", ".join(works[:shown]) + more

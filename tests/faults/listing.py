"""Every planted fault, and the table of what comes of them."""

from __future__ import annotations

from tests.faults import in_attacks, in_data, in_models
from tests.faults.fault import Outcome, outcome

FAULTS = [*in_attacks.FAULTS, *in_models.FAULTS, *in_data.FAULTS]
HEAD = """# Planted faults

Each fault below is planted on purpose and then evaluated as a run evaluates (`python -m tests.faults`). It stops the run, is
raised in the table, or is named as one that an evaluation cannot see, with the reason.

"""


def table() -> str:
    """Return the faults and what a user reads of each as Markdown."""
    return markdown([outcome(fault) for fault in FAULTS])


def markdown(outcomes: list[Outcome]) -> str:
    """Return the table of outcomes, one for each fault."""
    caught = sum(found.kind != "not catchable" for found in outcomes)
    lines = [
        f"{len(FAULTS)} faults: {caught} caught, {len(FAULTS) - caught} not catchable.",
        "",
        "| fault | planted in | outcome | what a user reads |",
        "| --- | --- | --- | --- |",
    ]
    for fault, found in zip(FAULTS, outcomes, strict=True):
        kind = "**not catchable**" if found.kind == "not catchable" else found.kind
        sentence = found.sentence.replace("|", "\\|")
        lines.append(f"| {fault.name} | {fault.where} | {kind} | {sentence} |")
    return HEAD + "\n".join(lines) + "\n"

"""The model card of an exported run, in the form of Hugging Face's hub: metadata, what was measured, how to use it."""

from __future__ import annotations

from typing import Any

import yaml

from advvid.core import escape
from advvid.evaluation.table import robustness_table
from advvid.sharing.claim import ALL, Claim

CARD = "README.md"


def card(claim: Claim, licence: str | None) -> str:
    """Return the card of a claim as Markdown."""
    told = {
        **({"license": licence} if licence else {}),
        "library_name": "advvid",
        "pipeline_tag": "video-classification",
        "tags": ["adversarial-robustness", "video-classification"],
    }
    parts = "\n".join(f"- {group}: {escape.markdown(option)}" for group, option in claim.parts.items())
    made = f"\nIt was made by:\n\n{escape.fenced(claim.made_by)}\n" if claim.made_by else ""
    return f"""---
{yaml.safe_dump(told, sort_keys=False)}{measured(claim)}---

# {escape.markdown(claim.name)}

A video classifier, measured against adversarial attacks with advvid.

{parts}

## Robustness

{results(claim)}

## Use

The weights lie in `model.safetensors`; nothing in this folder runs code.

```python
import advvid

model = advvid.load_run("this folder").model    # clips [B, 3, T, H, W] in [0, 1] to logits
```

## Check this table

Attacks every clip again and compares each prediction:

{escape.fenced(claim.command)}
{made}"""


def measured(claim: Claim) -> str:
    """Return the accuracies as the ``model-index`` of the card's metadata."""
    name = claim.parts.get("dataset", "unknown")
    data = {"name": name, "type": name}
    scores = {"Accuracy (clean)": claim.table.clean, "Accuracy (under every attack)": claim.table.union}
    metrics: list[dict[str, Any]] = [
        {"type": "accuracy", "name": kind, "value": round(100 * score.acc, 2)}
        for kind, score in scores.items()
        if score is not None and score.acc is not None
    ]
    task = {"type": "video-classification"}
    index = [{"name": claim.name, "results": [{"task": task, "dataset": data, "metrics": metrics}]}]
    return yaml.safe_dump({"model-index": index}, sort_keys=False) if metrics else ""


def results(claim: Claim) -> str:
    """Return the table with its footnotes, and the union within each threat."""
    label = claim.parts.get("defense", claim.name)
    lines = [robustness_table([(label, claim.table)]).markdown()]
    kinds = {kind: score for kind, score in claim.unions.items() if kind != ALL}
    if len(kinds) > 1:
        rows = [f"| {escape.cell(kind)} | {100 * score['acc']:.1f} |" for kind, score in kinds.items()]
        lines.append("\n".join(["| threat | right under every attack of it (%) |", "| --- | ---: |", *rows]) + "\n")
    lines.append(f"Clips `{claim.clips}`; weights `{claim.weights}`.")
    return "\n".join(lines)


def same_numbers(text: str, claim: Claim) -> bool:
    """Tell whether a card shows the numbers of a claim; whatever else its owner wrote there may differ.

    Example:
        >>> same_numbers(card(claim, None), claim)                                  # doctest: +SKIP
        True
    """
    return measured(claim) in text and results(claim) in text

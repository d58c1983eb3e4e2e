"""What a reader must know before believing an analysis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def raised_checks(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for every check that was raised on a model, and for clips that could not be read."""
    for model in result["models"]:
        for check in model["checks"]:
            if check["raised"]:
                yield f"Check raised for {model['label']}: {check['message']}; {check['means']}; remedy: {check['remedy']}"
    if result.get("missing"):
        yield f"{len(result['missing'])} clips are missing (unreadable videos); n counts only scored ones."

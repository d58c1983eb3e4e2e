"""No defense: plain training, the benign model of every table."""

from __future__ import annotations

from dataclasses import dataclass

from advvid.defenses.base import Defense


@dataclass(kw_only=True)
class NoDefense(Defense):
    """Minimise the loss on clean clips (the papers' *benign* model)."""

"""What every attack has that sees the model's scores and no gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from advvid.attacks.base import Attack
from advvid.attacks.problem import Targeted


@dataclass(frozen=True, kw_only=True)
class ScoreAttack(Attack):
    """A search by scores, with a limit on how often it asks.

    Args:
        queries: times the model may be asked about each clip, the first time about the clean one.
        targeted: None, ``least_likely``, ``random`` or a class number; ``run(targets=...)`` gives targets instead.
        early_exit: fooled clips leave the batch; without, their margin is lowered further.
    """

    access: ClassVar[str] = "black_box"

    queries: Annotated[int, Ge(2)] = 5000
    targeted: Targeted = None
    early_exit: bool = True

    def notes(self, classes: int) -> tuple[str, ...]:
        """Return what the attack sees of the model, and how often."""
        return (f"{type(self).__name__} sees scores and asks at most {self.queries} times about each clip.",)

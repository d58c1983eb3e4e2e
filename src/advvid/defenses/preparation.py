"""What a defense may use before its own training: the run's clips and attacks, and a way to train or load a model first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from advvid.attacks.base import Attack
from advvid.core.schedules import Schedule
from advvid.data.loader import Clips
from advvid.distributed.parallel import Processes

if TYPE_CHECKING:  # whose own file speaks of this one
    from advvid.defenses.base import Defense

# The folder of a run in which prerequisites lie.
FOLDER = "prerequisites"


class Preparation(Protocol):
    """The means to make ready what must exist before a run's own training begins."""

    @property
    def run_dir(self) -> Path:
        """The run folder."""

    @property
    def device(self) -> torch.device:
        """Where to compute."""

    @property
    def train_set(self) -> Clips:
        """The training split."""

    @property
    def attacks(self) -> Mapping[str, Attack]:
        """The attacks of the run, by name."""

    @property
    def seed(self) -> int:
        """The seed of the run."""

    @property
    def processes(self) -> Processes:
        """The processes that share the work."""

    def train(
        self,
        name: str,
        model: nn.Module,
        defense: Defense,
        schedule: Schedule,
        attacks: Mapping[str, Attack] | None = None,
    ) -> float:
        """Train a model in place, below ``prerequisites/<name>``, and return the passes that it took over all clips."""

    def load(self, option: str, source: str, model: nn.Module) -> None:
        """Put the weights of the run that an option names into a model."""

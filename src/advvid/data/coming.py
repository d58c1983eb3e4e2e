"""Random clips that a short training will ask for, so that one walk over a video serves all its epochs."""

from __future__ import annotations

from dataclasses import dataclass

from advvid.data.loader import draw_seed


@dataclass(frozen=True)
class Coming:
    """The training to come.

    Args:
        seed: of the run.
        epochs: of the training; 0 where there is none.
        scored: videos at the beginning of the training split of which the clip that testing scores is watched too.
    """

    seed: int = 0
    epochs: int = 0
    scored: int = 0

    def draws(self, index: int) -> list[int]:
        """Return the seeds by which the training's epochs ask for random clips of a video.

        Args:
            index: of the video in the training split.

        Example:
            >>> len(Coming(seed=0, epochs=2).draws(5))
            2
        """
        return [draw_seed(self.seed, epoch, index) for epoch in range(self.epochs)]

"""Compare a training that keeps its loader processes and decoded frames with one that starts and decodes anew at each walk.

    ADVVID_REALDATA=/data python scripts/benchmark_feeding.py          # about 2 minutes of one core

A small network is trained, with a validation after each epoch, on 71 clips of UT-Interaction (16 x 64 x 64). Counted are the
seconds of the processor, those of the loader processes included, of the run alone: Python has been started and PyTorch loaded,
files have been looked at and hashed. The cache of frames is empty at the first epoch. Rounds take the two by turns.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from advvid.api.runs import carried_out
from advvid.core.batch import Batch
from advvid.data.loader import Clips, Feed

WORDS = (
    "mode=train",
    "dataset=ut_interaction",
    "dataset.frames=16",
    "dataset.size=64",
    "defense=none",
    "schedule.batch_size=8",
    "tracker=none",
    "runtime=cpu",
    "runtime.threads=1",
)


class Anew(Feed):
    """Starts loader processes for each walk, and ends them with it."""

    def load(self, dataset: Clips, keys: Sequence[list[Any]]) -> Iterator[Batch]:
        """See ``Feed.load``."""
        yield from super().load(dataset, keys)
        self._loaded = None


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds of the processor that some work takes, with those of the processes that it starts and ends."""
    before = os.times()
    work()
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def train(folder: Path, epochs: int, keep: bool, workers: int) -> None:
    """Train once."""
    shutil.rmtree(folder / "cache" / "clips", ignore_errors=True)
    shutil.rmtree(folder / "run", ignore_errors=True)
    own = [f"schedule.epochs={epochs}", f"dataset.cache={'auto' if keep else 'null'}", f"dataset.workers={workers}"]
    with mock.patch("advvid.training.trainer.Feed", Feed if keep else Anew):
        carried_out([*WORDS, *own], folder / "run")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, nargs="+", default=[2, 12])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="loader processes")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["ADVVID_CACHE"] = str(folder / "cache")
        train(folder, 1, False, options.workers)  # untimed: looks at the files
        for epochs in options.epochs:
            times: dict[bool, list[float]] = {False: [], True: []}
            for turn in range(options.rounds):
                for keep in (turn % 2 == 0, turn % 2 == 1):
                    times[keep].append(seconds(lambda e=epochs, k=keep: train(folder, e, k, options.workers)))  # type: ignore[misc]
            ratios = [anew / kept for anew, kept in zip(times[False], times[True], strict=True)]
            sys.stdout.write(
                f"{epochs} epochs: {statistics.median(times[False]):.1f} s anew, {statistics.median(times[True]):.1f} s kept, "
                f"{statistics.median(ratios):.2f} times as fast [{min(ratios):.2f}, {max(ratios):.2f}] ({len(ratios)} rounds)\n"
            )
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

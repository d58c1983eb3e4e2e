"""What is in the clips of a split: a digest for each, of the file or memory it comes from and of how it is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from advvid.core import digests
from advvid.core.installed import installed
from advvid.data.loader import Clips

# The packages that each decoder may read with, whose versions its frames depend on.
EVERY = ("decord", "decord2", "av", "torchcodec")
DECODERS = {"decord": EVERY[:2], "pyav": EVERY[2:3], "torchcodec": EVERY[3:], "torchcodec_gpu": EVERY[3:]}


def clip_digests(split: Clips) -> list[str]:
    """Return a digest of each clip as testing scores it: its id, label, content and cut.

    A split that knows where its clips come from says so in ``digests()``; of any other, every clip is read once.

    Args:
        split: the clips.

    Raises:
        OSError: if a file cannot be read.

    Example:
        >>> len(clip_digests(data.split("test"))) == len(data.split("test"))     # doctest: +SKIP
        True
    """
    own = getattr(split, "digests", None)
    if own is None:

        def own() -> list[str]:
            return [digests.of_array(torch.as_tensor(split[index][0])) for index in range(len(split))]

    content = own()
    targets = torch.as_tensor(split.targets).tolist()
    labels = targets if len(targets) == len(content) else [""] * len(content)
    rows = zip(split.ids, labels, content, strict=True)
    return [digests.of_values("clip", name, label, found) for name, label, found in rows]


@dataclass(frozen=True)
class Contents:
    """The clips that results belong to: a unique name and a digest for each, in order.

    Args:
        ids: of the clips.
        digests: see ``clip_digests``.

    Example:
        >>> len(Contents(["a", "b", "c"], ["1", "2", "3"]).batches(2))
        2
    """

    ids: Sequence[str]
    digests: Sequence[str]

    @classmethod
    def of(cls, split: Clips) -> Contents:
        """Return the contents of a split."""
        return cls(list(split.ids), clip_digests(split))

    @property
    def digest(self) -> str:
        """One digest of all clips, in order."""
        return digests.of_values(*self.digests)

    def batches(self, size: int) -> list[str]:
        """Return a digest of each batch of so many clips: of what is in it, wherever it stands in the split."""
        rows = list(zip(self.ids, self.digests, strict=True))
        return [digests.of_values(*rows[start : start + size]) for start in range(0, len(rows), size)]

    def __len__(self) -> int:
        return len(self.ids)


def with_version(decoder: str) -> str:
    """Return a decoder with its package and version, such as ``pyav (av 18.1.0)``."""
    found = installed(DECODERS.get(decoder, EVERY))
    return f"{decoder} ({', '.join(f'{package} {version}' for package, version in found.items())})"


def of_videos(paths: Sequence[Path], decoder: str, *view: object) -> list[str]:
    """Return a digest of each video file together with what reads it and how clips are cut from it."""
    # Of the decoders with the same packages, the GPU's gives other bits.
    how = (installed(DECODERS.get(decoder, EVERY)), *view, *((decoder,) if decoder == "torchcodec_gpu" else ()))
    return [digests.of_values(content, *how) for content in digests.of_files(paths, "hashing the videos")]

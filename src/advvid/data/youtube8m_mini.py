"""The embedded stand-in for YouTube-8M: the same schema in real TFRecord files, made on first use."""

from __future__ import annotations

import hashlib
import inspect
import logging
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

from advvid.core import files
from advvid.core.kinds import Count, Seed
from advvid.core.locks import locked
from advvid.core.paths import cache_dir
from advvid.data import feature_recipe as recipe
from advvid.data import tfrecord
from advvid.data.vocabulary import FILE
from advvid.data.youtube8m import YouTube8M

log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class YouTube8MMini(YouTube8M):
    """Videos of 12 to 30 frames with one to three of 12 labels in three verticals; neighbouring classes differ by order.

    The folder has the published layout, so that ``dataset=youtube8m dataset.root=...`` reads it too.

    Args:
        root: where the files are made; None for a folder of the cache, named after recipe, number and seed.
        videos: how many are made: 60 % for training, the others for validation and test.
        data_seed: of the data draw. For the other arguments see ``YouTube8M``.

    Example:
        >>> YouTube8MMini().clip_shape
        (30, 1152)
    """

    labels: Annotated[int, Ge(2)] = len(recipe.CLASSES)
    frames: Annotated[int, Ge(1), Le(30)] = recipe.LONGEST
    val_videos: Count = 100
    videos: Annotated[int, Ge(50)] = 1000
    data_seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.root is None:
            changed = hashlib.blake2b(inspect.getsource(recipe).encode(), digest_size=4).hexdigest()
            self.root = str(cache_dir() / f"youtube8m_mini_{self.data_seed}_{self.videos}_{changed}")

    def intact(self) -> bool:
        """Tell whether the files are there; they appear all at once."""
        return self._folder.is_dir()

    def prepare(self) -> None:
        """Make the files where they are missing, in seconds; one process makes them, others wait."""
        folder = self._folder
        if self.intact():
            return super().prepare()
        with locked(folder.parent / f".{folder.name}.lock", f"the embedded data in {folder}"):
            files.remove_abandoned(folder.parent.glob(f".{folder.name}.*.tmp"))
            if not folder.exists():
                with files.replacing_folder(folder) as scratch:
                    self._make(scratch)
                log.info("made %d videos in %s", self.videos, folder)
        super().prepare()

    def _make(self, folder: Path) -> None:
        files.write_text(folder / FILE, recipe.vocabulary())
        for kind, shards in recipe.SHARDS.items():
            records = recipe.records(kind, self.data_seed, self.videos)
            each = -(-round(recipe.SHARES[kind] * self.videos) // shards)  # rounded up, so that none is left
            for shard in range(shards):
                tfrecord.write(folder / f"{kind}{shard:02d}.tfrecord", islice(records, each))

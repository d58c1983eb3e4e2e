"""``dataset.cache=auto``: decoded frames are kept by themselves where they take little room."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping

from advvid.core.errors import AdvvidError
from advvid.core.files import existing
from advvid.core.paths import cache_dir
from advvid.data.cache import FrameCache
from advvid.data.clips import VideoClips

log = logging.getLogger(__name__)

# Bytes that the decoded frames of a small data set take, and those that the disk keeps free besides.
SMALL, SPARE = 10e9, 5e9
# Epochs from which on it pays to decode a training video as a whole, about five times the work of a clip.
PAYS = 6


def auto_cache(splits: Mapping[str, VideoClips], gigabytes: float, epochs: int = 0) -> FrameCache | None:
    """Return a cache for a data set that is small enough for the disk, or None; a line tells which, and why.

    Args:
        splits: by name; of ``train`` all frames are kept, or the clips of few epochs, of the others those that are scored.
        gigabytes: bound on the folder, ``dataset.cache_gb``.
        epochs: of the training to come; of few of them, the clips that they ask for are kept,
            which one walk over each video gives.
    """
    folder, whole = cache_dir() / "clips", epochs >= PAYS
    needed = sum(split.kept(name == "train" and (whole or epochs)) for name, split in splits.items())
    free = shutil.disk_usage(existing(folder)).free
    size = f"{needed / 1e9:.2g} GB" if needed >= 1e9 else f"{needed / 1e6:.2g} MB"
    off = "decoded frames are not kept for later epochs: %s"
    if needed > SMALL:
        log.info(off, f"they take about {size}, and only a small data set's are (dataset.cache=<folder> keeps them)")
    elif free < needed + SPARE:
        log.info(off, f"they take about {size}, and the disk of {folder} has {free / 1e9:.2g} GB left")
    else:
        try:
            cache = FrameCache(folder, gigabytes, whole)
        except AdvvidError as error:
            log.info(off, error)
            return None
        what = "decoded frames" if whole else "decoded clips"
        log.info("%s are kept in %s, about %s (dataset.cache=null keeps none)", what, folder, size)
        return cache
    return None

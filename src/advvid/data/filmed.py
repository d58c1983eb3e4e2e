"""Small filmed data sets that are never shipped, found through one variable: UT-Interaction and Weizmann."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from advvid.core.errors import AdvvidError
from advvid.core.kinds import FilePath
from advvid.core.paths import user_path
from advvid.data.lists import Lists, read_ucf101
from advvid.data.reading import Reading
from advvid.data.video_files import VideoFiles

PLACE = "ADVVID_REALDATA"


@dataclass(kw_only=True, eq=False)
class Filmed(Reading, VideoFiles):
    r"""Filmed videos below a folder per class in ``$ADVVID_REALDATA/<name>``, with UCF101's lists in ``<name>_splits``.

    Args:
        folder_name: of the data set, such as ``ut_interaction``.
        root: the folder of the class folders; None for the one in ``$ADVVID_REALDATA``.
        splits: the folder of the lists; None for ``<root>_splits``.

    Raises:
        AdvvidError: where the folder is not there, with how to say where it is.

    Example:
        >>> Filmed(folder_name="weizmann", group_pattern=r"_p(\d+)_").split("test")     # doctest: +SKIP
    """

    folder_name: str
    root: FilePath | None = None
    splits: FilePath | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        place = os.environ.get(PLACE)
        if self.root is None and not place:
            raise AdvvidError(
                f"dataset={self.folder_name} is filmed and not shipped: set {PLACE}=<folder that holds {self.folder_name}/ and "
                f"{self.folder_name}_splits/>, or give dataset.root=<folder of the class folders>"
            )
        self.videos = Path(place or "", self.folder_name) if self.root is None else user_path(self.root)
        self.listed = (
            self.videos.with_name(f"{self.videos.name}_splits") if self.splits is None else user_path(self.splits)
        )
        for option, folder in (("root", self.videos), ("splits", self.listed)):
            if not folder.is_dir():
                raise AdvvidError(f"{folder} is not a folder: give dataset.{option}=<folder>, or another {PLACE}")
        self._begin(self)

    def lists(self) -> Lists:
        """Return the first of the lists."""
        return read_ucf101(self.listed, 1)

"""The small data set of video files that comes with the package; a text-to-video model made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from advvid.core.errors import AdvvidError
from advvid.core.kinds import FilePath
from advvid.data.lists import Lists, read_ucf101
from advvid.data.reading import Reading
from advvid.data.video_files import VideoFiles

FOLDER = Path(__file__).parent / "bed_fall"


@dataclass(kw_only=True, eq=False)
class BedFall(Reading, VideoFiles):
    """A person in a bed who falls out, or does not: 170 videos of 97 frames of 224 x 128, 85 of each class.

    Of each class 60 videos are for training, of which ``val_fraction`` is cut off for validation, and 25 for testing.
    Groups of five that resemble each other stand in one split. The videos were made by a text-to-video model. Source:
    K.-T. Wu, T2V-Bed-Fall-Detection-Dataset, CC BY 4.0; see ``bed_fall/ATTRIBUTION.md``.

    Args:
        root: must be None: the files come with the package.
        splits: must be None, likewise.

    Example:
        >>> data = BedFall(frames=8, stride=12, size=64)
        >>> data.prepare()
        >>> len(data.split("test")), data.classes
        (50, ['fall', 'non_fall'])
    """

    root: FilePath | None = None
    splits: FilePath | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.root is not None or self.splits is not None:
            raise AdvvidError("bed_fall comes with the package: leave dataset.root=null and dataset.splits=null")
        self.videos = FOLDER
        self._begin(self)

    def lists(self) -> Lists:
        """Return the lists that lie beside the videos."""
        return read_ucf101(FOLDER, 1)

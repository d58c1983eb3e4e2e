"""Data sets of the few videos at hand, in the layouts and with the classes of the official lists."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from advvid.core.errors import AdvvidError
from advvid.data.lists import read_hmdb51, read_ucf101

FEW = 8  # videos of UCF101 that are read, the first of as many classes


@dataclass(frozen=True)
class Copies:
    """Where copies of the data sets are; a few videos are enough.

    Args:
        ucf101: the folder of UCF101's classes.
        ucf101_lists: the folder of its official lists.
        hmdb51: the same of HMDB51; None: its networks are not tried.
        hmdb51_lists: None: its classes are not counted.
    """

    ucf101: Path
    ucf101_lists: Path
    hmdb51: Path | None = None
    hmdb51_lists: Path | None = None

    @classmethod
    def below(cls, folder: Path) -> Copies:
        """Return what lies in ``ucf101``, ``ucf101_splits``, ``hmdb51`` and ``hmdb51_splits`` of a folder."""
        return cls(*(folder / name for name in ("ucf101", "ucf101_splits", "hmdb51", "hmdb51_splits")))

    def classes(self) -> dict[str, list[str]]:
        """Return the classes that the official lists name, by data set.

        Raises:
            AdvvidError: if the lists are not there.
        """
        if not (self.ucf101_lists / "classInd.txt").is_file():
            raise AdvvidError(
                f"{self.ucf101_lists} has no classInd.txt: give UCF101=<folder of classes>,<folder of official lists>"
            )
        found = {"ucf101": read_ucf101(self.ucf101_lists, 1).classes}
        return found | ({"hmdb51": read_hmdb51(self.hmdb51_lists, 1).classes} if self.hmdb51_lists else {})

    def overrides(self, data: str, folder: Path) -> list[str] | None:
        """Write lists of the few videos into a folder and return the overrides that name both; None without videos.

        Raises:
            AdvvidError: if no video lies in a folder of a class.
        """
        if data == "ucf101":
            _ucf101(_videos(self.ucf101, self.classes()[data], 1), self.classes()[data], folder)
            return [f"dataset.root={self.ucf101}", f"dataset.splits={folder}", "dataset.allow_overlap=true"]
        if data == "hmdb51" and self.hmdb51 and self.hmdb51_lists:
            _hmdb51(_videos(self.hmdb51, self.classes()[data], FEW), self.classes()[data], folder)
            return [f"dataset.root={self.hmdb51}", f"dataset.splits={folder}"]
        return None


def _videos(root: Path, classes: list[str], each: int) -> list[str]:
    """Return the first videos of each class, as ``Class/name``."""
    found = [path for name in classes for path in sorted((root / name).glob("*.avi"))[:each]]
    if not found:
        raise AdvvidError(f"{root} has no <class>/<video>.avi of a listed class: give the folder of the class folders")
    return [path.relative_to(root).as_posix() for path in found][:FEW]


def _ucf101(videos: list[str], classes: list[str], folder: Path) -> None:
    """Write lists in which the same videos are trained on, watched and scored."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classInd.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(classes, 1)))
    lines = "".join(f"{video} {classes.index(video.split('/')[0]) + 1}\n" for video in videos)
    for split in ("trainlist01", "vallist01", "testlist01"):
        (folder / f"{split}.txt").write_text(lines)


def _hmdb51(videos: list[str], classes: list[str], folder: Path) -> None:
    """Write lists in which the class of most videos is trained on and the others are scored."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {name: [video.split("/")[1] for video in videos if video.startswith(f"{name}/")] for name in classes}
    most = max(own, key=lambda name: len(own[name]))
    for name, members in own.items():
        lines = [f"{member} {1 if name == most else 2}" for member in members] or ["none.avi 0"]
        (folder / f"{name}_test_split1.txt").write_text("\n".join(lines) + "\n")

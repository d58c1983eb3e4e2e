"""The embedded data sets: real .avi files in UCF101's layout, made on first use."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt, Lt
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from advvid.core import files
from advvid.core.allowed import checked
from advvid.core.batch import Space
from advvid.core.digests import of_content
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, FilePath, Seed, Whole
from advvid.core.locks import locked
from advvid.core.paths import cache_dir, user_path
from advvid.core.processes import pool
from advvid.core.progress import bar
from advvid.data import motion_recipe as recipe
from advvid.data.decoders import Decoder, DecordReader, FrameVideo
from advvid.data.encode import write_video
from advvid.data.file_view import UNKNOWN, FileView
from advvid.data.limits import round_robin
from advvid.data.loader import Workers
from advvid.data.memory_clips import MemoryClips
from advvid.tasks.classification import Classification

log = logging.getLogger(__name__)

# Clips per class, and the groups (scenes) that they are spread over; no split shares a group with another. Textured scenes,
# which the papers' statements are judged on, have more test clips.
SPLITS = {"train": (40, range(8, 26)), "val": (10, range(26, 31)), "test": (20, range(1, 8))}
TESTED = {"plain": 1, "textured": 2}
LISTS = {"train": "trainlist01.txt", "val": "vallist01.txt", "test": "testlist01.txt"}
MANIFEST = "manifest.json"


@checked
class Motion:
    """Ten classes of motion on textured scenes; 400 training, 100 validation and 200 test clips of 64 x 64 x 32.

    The files lie in ``root`` in the layout of UCF101 (``videos/<Class>/v_<Class>_gNN_cMM.avi`` and
    ``ucfTrainTestlist/``), so that ``dataset=ucf101 dataset.root=...`` reads them too. They are decoded once into memory.

    Args:
        root: where the files are; None for a folder of the cache, named after recipe and seed.
        splits: must be None: the lists are made with the files.
        split: must be 1.
        frames: of a clip, at most 32.
        stride: between them; ``frames * stride`` is at most 32.
        size: side of the frames, which are averaged down from 64 (textured: 48); budgets live at this resolution.
        shift: largest random shift of a training clip in pixels, the same for all frames.
        looks: let shape and colour tell the class in every frame (``motion_look``).
        scene: ``plain`` as above; ``textured``: frames of 48 x 48, a figure a fifth as wide, edges everywhere, and 400 test
            clips, for experiments in which an attack must neither fail always nor succeed always.
        seed: of the data draw; files in ``root`` that were made with another are made again.
        limit_train: number of clips in total, round-robin over the classes; None for all. Likewise the other two.
        limit_val: see ``limit_train``.
        limit_test: see ``limit_train``.
        test_clips: clips per video in testing, spread evenly over it; their logits are averaged.
        workers: loader processes; the data is in memory, so that 0 is best.
        on_error: accepted for uniformity; damaged files are made again.
        decoder: accepted for uniformity.
        val_fraction: accepted for uniformity; validation has groups of its own.

    Raises:
        AdvvidError: for settings that the clips cannot satisfy; ``prepare`` for a root that holds other files.
    """

    space = Space()
    task = Classification()

    def __init__(
        self,
        root: FilePath | None = None,
        splits: str | None = None,
        split: int = 1,
        frames: Count = 8,
        stride: Count = 4,
        size: Literal[8, 12, 16, 24, 32, 48, 64] = 32,
        shift: Whole = 2,
        looks: bool = False,
        scene: Literal["plain", "textured"] = "plain",
        seed: Seed = 0,
        limit_train: Count | None = None,
        limit_val: Count | None = None,
        limit_test: Count | None = None,
        test_clips: Count = 1,
        workers: Workers = 0,
        on_error: Literal["raise", "skip"] = "raise",
        decoder: Decoder = "decord",
        val_fraction: Annotated[float, Gt(0), Lt(1)] | None = None,
    ) -> None:
        if splits is not None or split != 1:
            raise AdvvidError(
                "the embedded data has one split of its own: leave dataset.splits=null and dataset.split=1"
            )
        if frames * stride > recipe.FRAMES:
            raise AdvvidError(
                f"dataset.frames={frames} with dataset.stride={stride} does not fit in the {recipe.FRAMES} frames of the "
                "embedded videos: frames x stride may be at most 32"
            )
        self.scene = recipe.SCENES[scene]
        if self.scene.side % size:
            raise AdvvidError(
                f"dataset.size={size} does not divide the {self.scene.side} pixels of {scene} scenes: choose "
                f"{', '.join(str(s) for s in (8, 12, 16, 24, 32, 48, 64) if self.scene.side % s == 0)}"
            )
        self.frames, self.stride, self.size, self.shift = frames, stride, size, shift
        self.looks, self.seed, self.tested = looks, seed, TESTED[scene]
        self.limits = {"train": limit_train, "val": limit_val, "test": limit_test}
        self.views, self.workers = test_clips, workers
        self.classes = list(recipe.CLASSES)
        self.clip_shape = (3, frames, size, size)
        self.missing: dict[str, list[str]] = {}
        look = ("_look" if looks else "") + ("" if scene == "plain" else f"_{scene}")
        self.name = f"motion{look}_{seed}_{_recipe_hash()}"
        self.chosen = bool(root)
        self.root = user_path(root) if root else cache_dir() / self.name

    @classmethod
    def file_view(cls, settings: Mapping[str, Any]) -> FileView:
        """Return how the data set turns a file into clips: its own videos give their own, others come to 64 x 64 first."""
        data = cls(**{name: value for name, value in settings.items() if not name.startswith("_")})

        def shown(frames: Tensor) -> Tensor:
            frames = frames.transpose(0, 1)
            side = data.scene.side
            if frames.shape[-2:] != (side, side):
                frames = v2.CenterCrop(side)(v2.Resize(side, antialias=True)(frames))
            return _averaged(frames, data.size).transpose(0, 1).contiguous()

        def clip(path: Path) -> Tensor:
            video = FrameVideo(path)
            numbers = torch.arange(max(video.frames, (data.frames - 1) * data.stride + 1)).view(1, 1, -1)
            # The sampling of the data set itself, applied to the numbers of the frames: a long video is not decoded whole.
            chosen = MemoryClips(numbers, [UNKNOWN], [""], data.frames, data.stride, views=data.views)[0][0].flatten()
            return shown(video.fetch(chosen.tolist()))

        return FileView(
            frames=data.frames,
            step=lambda _: data.stride,
            size=data.size,
            views=data.views,
            decoder="decord",
            rests_on=(data.frames, data.stride, data.size, data.size, data.views),
            clip=clip,
            shown=shown,
        )

    def prepare(self) -> None:
        """Make the files where they are missing or damaged; about ten seconds on two cores."""
        if self.intact():
            return
        # Runs that start side by side: one makes the files, the others wait and find them.
        with locked(self.root.parent / f".{self.root.name}.lock", f"the embedded data in {self.root}"):
            files.remove_abandoned(self.root.parent.glob(f".{self.root.name}.*.tmp"))
            if not self.intact():
                self._make_files()

    def _make_files(self) -> None:
        if self._foreign():
            raise AdvvidError(
                f"dataset.root={self.root} holds other files: give an empty or new folder for the embedded data, or read "
                "your own videos with dataset=ucf101"
            )
        entries = self._entries()
        with files.replacing_folder(self.root) as scratch:
            jobs = [(scratch / _path(e), e, self.seed, self.looks, self.scene) for e in entries]
            made = {}
            # Forked like PyTorch's own loader processes: the workers use numpy and the encoder only.
            with (
                bar("making the embedded data", len(jobs)) as progress,
                pool(min(8, os.cpu_count() or 1)) as workers,
            ):
                for entry, digest in zip(entries, workers.map(_make, jobs, chunksize=10), strict=True):
                    made[_path(entry)] = digest
                    progress.advance(1)
            made |= {path: _write(scratch / path, text) for path, text in self._lists(entries).items()}
            files.write_json(scratch / MANIFEST, {"made": self.name, "files": made}, indent=None)
        log.info("made %d videos in %s", len(entries), self.root)

    def split(self, name: str) -> MemoryClips:
        """Return a split, decoded into memory."""
        entries = [e for e in self._entries() if e["split"] == name]
        entries = [entries[i] for i in round_robin([e["label"] for e in entries], self.limits[name])]
        videos = torch.stack([_decode(self.root / _path(e), self.size) for e in entries])
        ids = [f"{self.classes[e['label']]}/{Path(_path(e)).stem}" for e in entries]
        return MemoryClips(
            videos,
            [e["label"] for e in entries],
            ids,
            frames=self.frames,
            stride=self.stride,
            shift=self.shift,
            views=self.views,
        )

    def _entries(self) -> list[dict[str, Any]]:
        """Name every clip: split, label, group, number within group, and number within its class."""
        entries = []
        for label in range(len(self.classes)):
            member = 0
            for split, (count, groups) in SPLITS.items():
                for i in range(count * self.tested if split == "test" else count):
                    group, number = groups[i % len(groups)], i // len(groups) + 1
                    entries.append({"split": split, "label": label, "group": group, "number": number, "member": member})
                    member += 1
        return entries

    def _lists(self, entries: list[dict[str, Any]]) -> dict[str, str]:
        """Return the texts of the lists by their paths below the root."""
        texts = {"classInd.txt": "".join(f"{i} {name}\n" for i, name in enumerate(self.classes, 1))}
        for split, file in LISTS.items():
            paths = [(_path(e).removeprefix("videos/"), e["label"] + 1) for e in entries if e["split"] == split]
            texts[file] = "".join(f"{path}\n" if split == "test" else f"{path} {label}\n" for path, label in paths)
        return {f"ucfTrainTestlist/{file}": text for file, text in texts.items()}

    def intact(self) -> bool:
        """Tell whether the files are those of this seed and recipe, each with its content."""
        try:
            manifest = json.loads((self.root / MANIFEST).read_text())
            if not isinstance(manifest, dict) or manifest.get("made") != self.name:
                return False
            entries, files = self._entries(), manifest["files"]
            wanted = {_path(e) for e in entries} | set(self._lists(entries))
            return set(files) == wanted and all(
                of_content(self.root / path) == digest for path, digest in files.items()
            )
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return False

    def _foreign(self) -> bool:
        """Tell whether a chosen root holds anything that was not made here, so that nobody's files are deleted."""
        if not self.chosen or not self.root.exists():
            return False
        names = {path.name for path in self.root.iterdir()}
        classes = {path.name for path in self.root.glob("videos/*")}
        strange = names - {"videos", "ucfTrainTestlist", MANIFEST} or classes - set(self.classes)
        return bool(strange) or (bool(names) and MANIFEST not in names)


def _path(entry: dict[str, Any]) -> str:
    name = recipe.CLASSES[entry["label"]]
    return f"videos/{name}/v_{name}_g{entry['group']:02d}_c{entry['number']:02d}.avi"


def _write(path: Path, text: str) -> str:
    files.write_text(path, text)
    return of_content(path)


def _recipe_hash() -> str:
    """Hash the recipe, so that a changed one never meets files of the old one."""
    text = inspect.getsource(recipe) + repr((SPLITS, LISTS))
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _make(job: tuple[Path, dict[str, Any], int, bool, recipe.Scene]) -> str:
    """Render and encode one clip; return the hash of its file."""
    path, entry, seed, looks, scene = job
    frames = recipe.clip(entry["label"], entry["group"], entry["number"], entry["member"], seed, looks, scene)
    write_video(path, frames, recipe.RATE, codec="mpeg4", quality=3)
    return of_content(path)


def _decode(path: Path, size: int) -> Tensor:
    """Return a video as uint8 ``[3, 32, size, size]``, averaged down."""
    frames = DecordReader(path).get(range(recipe.FRAMES))
    return _averaged(frames.permute(0, 3, 1, 2), size).transpose(0, 1).contiguous()


def _averaged(frames: Tensor, size: int) -> Tensor:
    """Average frames ``[n, 3, side, side]`` down to ``size``."""
    if size == frames.shape[-1]:
        return frames
    return F.avg_pool2d(frames.float(), frames.shape[-1] // size).round().to(torch.uint8)

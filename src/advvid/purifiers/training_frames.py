"""Frames to train a purifier on: of a data set, or of any folder of pictures and videos."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from av.error import FFmpegError
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from advvid.config.composed import composed
from advvid.config.instantiate import safe_instantiate
from advvid.core.errors import AdvvidError

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".webp")
VIDEOS = (".avi", ".mkv", ".mov", ".mp4", ".mpg", ".webm")
PER_FILE = 8  # about so many frames of one video


def patches_of(frames: Iterator[Tensor], side: int, count: int, seed: int) -> Tensor:
    """Cut random squares out of frames, the same number out of each as far as that goes.

    Args:
        frames: uint8 ``[3, H, W]``; smaller ones than a square are passed over.
        side: of a square.
        count: of squares.
        seed: of the places.

    Raises:
        AdvvidError: if no frame is large enough.
    """
    chance = random.Random(seed)
    large = [frame for frame in frames if min(frame.shape[1:]) >= side]
    if not large:
        raise AdvvidError(f"no frame has {side} x {side} pixels: give larger pictures, or a smaller --patch")
    found = []
    for number in range(count):
        frame = large[number % len(large)]
        top, left = (chance.randint(0, s - side) for s in frame.shape[1:])
        found.append(frame[:, top : top + side, left : left + side])
    return torch.stack(found)


def frames_of_folder(folder: Path, seed: int) -> Iterator[Tensor]:
    """Yield every picture below a folder and some frames of every video, in a shuffled order.

    Raises:
        AdvvidError: if there is nothing to read, or a file cannot be read.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES + VIDEOS)
    if not files:
        raise AdvvidError(f"{folder} has no pictures or videos ({', '.join(PICTURES + VIDEOS)}): give another folder")
    random.Random(seed).shuffle(files)
    for file in files:
        try:
            if file.suffix.lower() in PICTURES:
                with Image.open(file) as picture:
                    yield torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
                continue
            with av.open(str(file), metadata_errors="replace") as video:
                stride = max(1, (video.streams.video[0].frames if video.streams.video else 0) // PER_FILE)
                for number, frame in enumerate(video.decode(video=0)):
                    if number % stride == 0:
                        yield torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
        except (FFmpegError, UnidentifiedImageError, OSError, IndexError) as error:
            raise AdvvidError(f"{file} cannot be read ({error}): take it out of {folder}") from error


def frames_of_dataset(overrides: Sequence[str]) -> Iterator[Tensor]:
    """Yield the middle frame of every training clip of a data set, chosen as on advvid's own command line.

    Raises:
        AdvvidError: for options that do not exist, and data without pixels.
    """
    dataset = safe_instantiate(composed(overrides).dataset)
    if len(dataset.clip_shape) != 4:
        raise AdvvidError("these data have no pixels: choose a data set of pictures or videos")
    dataset.prepare()
    clips = dataset.split("train")
    for number in range(len(clips)):
        clip = clips[number][0]
        yield clip[:, clip.shape[1] // 2]

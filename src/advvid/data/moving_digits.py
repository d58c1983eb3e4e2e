"""How the stand-in for Moving-MNIST is drawn: handwritten digits that bounce around in a dark frame."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from advvid.data.image_clips import cut
from advvid.data.images import load_grey

SIDE, DIGIT, FRAMES, DIGITS = 64, 28, 20, 2
STEP = 0.1  # of the free way, per frame
SHARES = (0.8, 0.1)  # of training and validation, in this order; what is over is for testing

Frames = NDArray[np.uint8]


def blocks(count: int) -> dict[str, range]:
    """Return which sequences of a file belong to which split.

    Example:
        >>> blocks(10_000)["test"]
        range(9000, 10000)
    """
    train = round(SHARES[0] * count)
    val = train + round(SHARES[1] * count)
    return {"train": range(train), "val": range(train, val), "test": range(val, count)}


def pictures(split: str) -> Frames:
    """Return the pictures that a split's sequences are made of, ``[n, 28, 28]``; no two splits share one."""
    grey, labels = load_grey()
    parts = dict(zip(("train", "val", "test"), cut(labels, SHARES, seed=0, name="moving_digits"), strict=True))
    large = F.interpolate(grey[parts[split]][:, None].float(), (DIGIT, DIGIT), mode="bilinear", align_corners=False)
    return (large[:, 0] * 255 / 16).round().to(torch.uint8).numpy()


def sequence(source: Frames, rng: np.random.Generator) -> Frames:
    """Return one sequence, uint8 ``[20, 64, 64]``: two digits at constant speed that bounce off the walls.

    Srivastava et al. 2015, sec. 4.1: random place and direction, where digits meet the brighter one is seen.
    """
    frames = np.zeros((FRAMES, SIDE, SIDE), dtype=np.uint8)
    for _ in range(DIGITS):
        picture = source[rng.integers(len(source))]
        start, angle = rng.uniform(0, 1, 2), rng.uniform(0, 2 * np.pi)
        way = start + STEP * np.arange(FRAMES)[:, None] * np.array([np.sin(angle), np.cos(angle)])
        # Unfolded at the walls the way is straight; folding it back is a triangle wave.
        place = np.rint((1 - np.abs(way % 2 - 1)) * (SIDE - DIGIT)).astype(int)
        for frame, (row, column) in zip(frames, place, strict=True):
            part = frame[row : row + DIGIT, column : column + DIGIT]
            np.maximum(part, picture, out=part)
    return frames


def fill(frames: Frames, seed: int) -> None:
    """Draw all sequences of a file.

    Shape:
        frames: uint8 ``[20, N, 64, 64]``, the layout of Moving-MNIST's own file; written in place.
    """
    for split, numbers in blocks(frames.shape[1]).items():
        source = pictures(split)
        for number in numbers:
            frames[:, number] = sequence(source, np.random.default_rng([seed, number]))

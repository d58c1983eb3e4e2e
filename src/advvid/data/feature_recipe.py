"""How the stand-in for YouTube-8M is drawn: features whose classes differ by what comes, and by what comes first."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO

import numpy as np
from numpy.typing import NDArray

from advvid.data.tfrecord import sequence_example

# Neighbours share their scenes and differ by their order alone, so that no mean over time tells them apart.
CLASSES = (
    ("Concert", "Arts & Entertainment"), ("Rehearsal", "Arts & Entertainment"), ("Dance", "Arts & Entertainment"),
    ("Cartoon", "Arts & Entertainment"), ("Guitar", "Arts & Entertainment"), ("Film", "Arts & Entertainment"),
    ("Football", "Sports"), ("Boxing", "Sports"), ("Cycling", "Sports"), ("Swimming", "Sports"),
    ("Stock market", "Finance"), ("Bank", "Finance"),
)  # fmt: skip
SIZES = {"rgb": 1024, "audio": 128}
SHORTEST, LONGEST = 12, 30  # frames of a video
SHARES = {"train": 0.6, "validate": 0.4}
SHARDS = {"train": 4, "validate": 2}
# Of the noise in each frame, of what is the same in all frames of a video, and of a scene in either stream.
NOISE, PLACE, SCENE = 0.35, 0.1, {"rgb": 1.1, "audio": 0.55}
MOST_LABELS = (0.5, 0.35, 0.15)  # share of the videos with one, two and three labels

Frames = NDArray[np.uint8]


def vocabulary() -> str:
    """Return a ``vocabulary.csv`` with the published columns that are read."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["Index", "Name", "Vertical1", "Vertical2", "Vertical3"])
    writer.writerows([number, name, vertical, "", ""] for number, (name, vertical) in enumerate(CLASSES))
    return text.getvalue()


def quantise(values: NDArray[np.float64]) -> Frames:
    """Return values in [-2, 2] as bytes, the nearest that are dequantised to them."""
    return np.rint((values + 2 - 4 / 512) * 255 / 4).clip(0, 255).astype(np.uint8)


def scenes(seed: int) -> dict[str, NDArray[np.float64]]:
    """Return the directions of the scenes, unit vectors ``[pairs, 2, size]`` per stream: each pair of classes has two."""
    rng = np.random.default_rng([seed, 1])
    found = {}
    for name, size in SIZES.items():
        drawn = rng.standard_normal((len(CLASSES) // 2, 2, size))
        found[name] = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    return found


def video(directions: dict[str, NDArray[np.float64]], rng: np.random.Generator) -> tuple[list[int], dict[str, Frames]]:
    """Return the labels of one video and its frames, uint8 ``[n, size]`` per stream.

    Each label shows its pair's two scenes one after the other, the even class in their order, the odd one turned round,
    with a cut of its own near the middle.
    """
    count = 1 + rng.choice(3, p=MOST_LABELS)
    pairs = rng.choice(len(CLASSES) // 2, size=count, replace=False)
    labels = [int(2 * pair + rng.integers(2)) for pair in pairs]
    frames = int(rng.integers(SHORTEST, LONGEST + 1))
    cuts = [frames * rng.uniform(0.35, 0.65) for _ in labels]
    streams = {}
    for name, size in SIZES.items():
        values = NOISE * rng.standard_normal((frames, size)) + PLACE * rng.standard_normal(size)
        for label, cut in zip(labels, cuts, strict=True):
            late = np.arange(frames) >= cut
            shown = late if label % 2 == 0 else ~late
            values += SCENE[name] * rng.uniform(0.8, 1.2) * directions[name][label // 2][shown.astype(int)]
        streams[name] = quantise(values)
    return sorted(labels), streams


def records(kind: str, seed: int, videos: int) -> Iterator[bytes]:
    """Yield the records of ``train`` or ``validate``, each a function of the seed and its number.

    Args:
        kind: of the files.
        seed: of the draw.
        videos: of all files together.
    """
    directions = scenes(seed)
    first = 0 if kind == "train" else round(SHARES["train"] * videos)
    last = round(SHARES["train"] * videos) if kind == "train" else videos
    for number in range(first, last):
        labels, streams = video(directions, np.random.default_rng([seed, 2, number]))
        frames = {name: [row.tobytes() for row in rows] for name, rows in streams.items()}
        yield sequence_example({"id": f"{number:04d}".encode(), "labels": labels}, frames)

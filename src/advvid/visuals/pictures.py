"""What contact sheets are made of: strips of frames below each other."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor

from advvid.core import files

# Blue and vermilion stay apart for every kind of colour vision; the words carry the meaning, the colour helps.
RIGHT, WRONG, QUIET = "#0072b2", "#d55e00", "#666666"
MOST_CLIPS, MOST_FRAMES = 4, 8
FRAME = 1.15  # inches
TEXT = 2.45  # inches beside the frames
HEAD, GAP, EDGE = 0.62, 0.22, 0.1  # inches: above the first clip, between clips, right of the frames
DPI = 110
BORDER = 3  # white dots around a frame


@dataclass(frozen=True)
class Strip:
    """One row of a sheet: frames ``[T, H, W, C]`` in [0, 1], C being 1 or 3, what they are, and words in a colour."""

    frames: np.ndarray
    name: str
    words: str = ""
    colour: str = QUIET


def changed(change: np.ndarray, factor: int, any_change: bool) -> Strip:
    """Return the row that shows a change ``[T, H, W, C]`` around mid-grey, magnified."""
    words = f"magnified × {factor}" if any_change else "no change at all"
    return Strip(np.clip(0.5 + factor * change, 0, 1), "difference", words)


def draw_sheet(
    path: Path,
    title: str,
    said: str,
    blocks: Sequence[tuple[str, Sequence[Strip]]],
    told: Sequence[tuple[str, str]] = (),
) -> None:
    """Write a PNG of strips below each other, a block of them per clip.

    Args:
        path: of the PNG.
        title: heading.
        said: what stands below it.
        blocks: the text beside each clip's first row, and its rows; all have as many rows and frames.
        told: of each clip a caption, and a sentence for those who cannot see it; the file keeps them as ``Title`` and
            ``Description``, a line per clip.
    """
    rows = len(blocks[0][1])
    count, height, width = blocks[0][1][0].frames.shape[:3]
    tall = FRAME * height / width
    sides = TEXT + count * FRAME + EDGE, HEAD + len(blocks) * (rows * tall + GAP)
    sheet = Image.new("RGB", (_dots(sides[0]), _dots(sides[1])), "white")
    draw = ImageDraw.Draw(sheet)

    def write(middle: float, text: str, points: float, colour: str = "black", bold: bool = False) -> None:
        line = " ".join(text.encode("utf-8", "replace").decode().splitlines())
        draw.text((_dots(0.12), _dots(middle)), line, colour, _font(points, bold), anchor="lm")

    write(0.27, title, 14, bold=True)
    write(0.49, said, 9, QUIET)
    for i, (beside, strips) in enumerate(blocks):
        top = HEAD + i * (rows * tall + GAP)
        write(top + 0.14, beside, 10)
        for row, strip in enumerate(strips):
            upper = top + row * tall
            for j, frame in enumerate(strip.frames):
                box = [_dots(side) for side in (TEXT + j * FRAME, upper, TEXT + (j + 1) * FRAME, upper + tall)]
                wide, high = box[2] - box[0] - 2 * BORDER, box[3] - box[1] - 2 * BORDER
                sheet.paste(_enlarged(frame, wide, high), (box[0] + BORDER, box[1] + BORDER))
            write(upper + tall / 2 - 0.11, strip.name, 8, QUIET)
            write(upper + tall / 2 + 0.11, strip.words, 10, strip.colour, bold=True)
    held = io.BytesIO()
    words = PngImagePlugin.PngInfo()
    for name, lines in zip(("Title", "Description"), zip(*told, strict=True), strict=False):
        words.add_itxt(name, "\n".join(" ".join(line.split()) for line in lines))
    sheet.save(held, "PNG", pnginfo=words)
    files.write_bytes(path, held.getvalue())


def _dots(inches: float) -> int:
    return round(inches * DPI)


def _enlarged(frame: np.ndarray, width: int, height: int) -> Image.Image:
    """Return a frame ``[H, W, C]`` as a picture whose pixels are squares."""
    bytes_ = (255 * frame).round().astype(np.uint8)
    picture = Image.fromarray(bytes_ if frame.shape[2] == 3 else bytes_[:, :, 0])
    return picture.resize((max(1, width), max(1, height)), Image.Resampling.NEAREST)


def magnification(largest: float) -> int:
    """Return the power of two that brings the largest change into the upper half of the drawable range.

    Example:
        >>> magnification(8 / 255), magnification(1.0), magnification(0.0)
        (8, 1, 1)
    """
    return 1 if largest <= 0 else max(1, 2 ** min(8, math.floor(math.log2(0.5 / largest) + 1e-6)))


def shown_frames(frames: int) -> Tensor:
    """Return the numbers of the frames on a sheet, int64: evenly spaced, at most eight."""
    return torch.linspace(0, frames - 1, min(MOST_FRAMES, frames)).round().long()


def strips(clips: Tensor, frames: Tensor) -> np.ndarray:
    """Turn ``[N, C, T, H, W]`` into ``[N, frames, H, W, C]`` float32 on the host, cut to [0, 1]."""
    chosen = clips.detach().float().cpu()[:, :, frames]
    return chosen.clamp(0, 1).permute(0, 2, 3, 4, 1).numpy()


@cache
def _font(points: float, bold: bool) -> ImageFont.FreeTypeFont:
    """Return a font that has the letters of most languages; Matplotlib brings it, which takes a second to load itself."""
    package = find_spec("matplotlib")
    assert package is not None
    assert package.origin is not None
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), round(points * DPI / 72))

"""Clips as films that a person can keep and watch: without loss, enlarged, and as a short GIF with the difference."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from matplotlib import font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from advvid.core import files
from advvid.core.errors import AdvvidError
from advvid.data.decoders import open_reader
from advvid.data.encode import write_video
from advvid.visuals.pictures import RIGHT, WRONG, magnification

Frames = NDArray[np.uint8]

WATCHED = 256  # least side of a film to watch
PANEL = 224  # about the side of each of the three pictures of a GIF
GAP, BAND, LETTERS = 6, 24, 13
SHARES = (184, 56, 16)  # colours of a GIF's pictures, of its difference and of its words
SLOWEST, QUICKEST = 1000, 40  # milliseconds per frame; browsers slow down what is quicker


@dataclass(frozen=True)
class Panel:
    """One of the pictures side by side in a GIF, with the words above it."""

    frames: Frames
    words: str
    colour: str


def eight_bits(clips: Tensor) -> Tensor:
    """Round clips in [0, 1] to the 256 levels that a video file holds, uint8 on the CPU."""
    return clips.detach().float().mul(255).round().clamp(0, 255).to(torch.uint8).cpu()


def frames_of(clip: Tensor) -> Frames:
    """``[3, T, H, W]`` uint8 to ``[T, H, W, 3]``."""
    return clip.permute(1, 2, 3, 0).contiguous().numpy()


def write_lossless(path: Path, clip: Tensor, rate: Fraction) -> Tensor:
    """Write a clip without loss at its own size, read the file again and return what it holds.

    Shape:
        clip: uint8 ``[3, T, H, W]``; the result is alike.

    Raises:
        AdvvidError: if the file does not decode to exactly this clip.
    """
    write_video(path, frames_of(clip), rate, codec="ffv1")
    try:
        reader = open_reader(path, "pyav")
        back = reader.get(range(clip.shape[1])) if reader.frames == clip.shape[1] else torch.empty(0)
    except ValueError as error:
        raise AdvvidError(f"{path} cannot be read again ({error}): check the disk and PyAV's ffv1") from None
    if back.numel() != clip.numel() or not torch.equal(back.permute(3, 0, 1, 2), clip):
        raise AdvvidError(
            f"{path} does not decode to the frames that were written: this PyAV's ffv1 loses something, install another"
        )
    return back.permute(3, 0, 1, 2)


def write_viewable(path: Path, clip: Tensor, rate: Fraction) -> None:
    """Write a clip enlarged for watching, pixels as squares, in a form that every player knows.

    Shape:
        clip: uint8 ``[3, T, H, W]``.
    """
    frames = frames_of(clip)
    write_video(path, enlarged(frames, zoom_for(frames.shape[1], frames.shape[2])), rate, codec="libx264")


def zoom_for(height: int, width: int) -> int:
    """Return the whole number by which frames are enlarged: to 256 pixels or more, with even sides.

    Example:
        >>> zoom_for(32, 32), zoom_for(112, 112), zoom_for(257, 300)
        (8, 3, 2)
    """
    zoom = max(1, -(-WATCHED // min(height, width)))
    return zoom + (zoom % 2 and (height % 2 or width % 2))


def enlarged(frames: Frames, zoom: int) -> Frames:
    """Repeat every pixel ``zoom`` times in both directions."""
    return frames.repeat(zoom, axis=1).repeat(zoom, axis=2)


def write_gif(path: Path, panels: Sequence[Panel], rate: Fraction) -> None:
    """Write panels side by side as a GIF that repeats for ever; whole or not at all.

    A GIF has 256 colours per frame. The last panel, a magnified difference, is as good as noise and would take them all:
    it gets a share of its own, and the others one palette together, so that what is alike looks alike.

    Args:
        path: the file.
        panels: pictures of one size and length, from left to right.
        rate: frames per second; between 1 and 25 are shown.
    """
    count, height, width = panels[0].frames.shape[:3]
    zoom = max(1, round(PANEL / height))
    head, head_palette = _indexed(_words(panels, zoom * width), SHARES[2])
    gap = int((head_palette.sum(axis=1)).argmax())  # white
    pictures = []
    for i in range(count):
        shown, palette = _indexed(np.concatenate([panel.frames[i] for panel in panels[:-1]], axis=1), SHARES[0])
        last, last_palette = _indexed(panels[-1].frames[i], SHARES[1])
        parts = [*np.split(shown, len(panels) - 1, axis=1), last + SHARES[0]]
        page = np.full((BAND + zoom * height, head.shape[1]), gap + SHARES[0] + SHARES[1], np.uint8)
        page[:BAND] = head + SHARES[0] + SHARES[1]
        for n, part in enumerate(parts):
            left = n * (zoom * width + GAP)
            page[BAND:, left : left + zoom * width] = part.repeat(zoom, axis=0).repeat(zoom, axis=1)
        image = Image.fromarray(page, "P")
        image.putpalette(np.concatenate([palette, last_palette, head_palette]).astype(np.uint8).tobytes())
        pictures.append(image)
    lasts = min(SLOWEST, max(QUICKEST, round(1000 / rate)))
    held = io.BytesIO()
    pictures[0].save(held, "GIF", save_all=True, append_images=pictures[1:], duration=lasts, loop=0, optimize=False)
    files.write_bytes(path, held.getvalue())


def write_comparison(
    path: Path, clean: Tensor, adversarial: Tensor, answers: tuple[str, str], fooled: bool, rate: Fraction
) -> None:
    """Write clean, adversarial and magnified difference side by side as a GIF.

    Args:
        path: the file.
        clean: the clip.
        adversarial: the clip after the attack.
        answers: names of the classes that they were taken for.
        fooled: whether the second answer is wrong.
        rate: frames per second.

    Shape:
        clean, adversarial: float ``[3, T, H, W]`` in [0, 1].
    """
    change = (adversarial - clean).cpu()
    factor = magnification(float(change.abs().max()))
    before, after, difference = (
        frames_of(eight_bits(clip)) for clip in (clean, adversarial, (0.5 + factor * change).clamp(0, 1))
    )
    panels = (
        Panel(before, f"clean: {answers[0]}", "#000000"),
        Panel(after, f"adversarial: {answers[1]}", WRONG if fooled else RIGHT),
        Panel(difference, f"difference × {factor}", "#000000"),
    )
    write_gif(path, panels, rate)


def _indexed(picture: Frames, colours: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return ``[H, W]`` numbers of colours and the ``[colours, 3]`` that they stand for.

    Without dithering, whose dots would look like a perturbation.
    """
    image = Image.fromarray(picture).quantize(colours, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    used = np.array(image.getpalette(), np.uint8).reshape(-1, 3)[:colours]
    palette = np.zeros((colours, 3), np.uint8)
    palette[: len(used)] = used
    return np.asarray(image), palette


def _words(panels: Sequence[Panel], width: int) -> Frames:
    """Return the band above the pictures, ``[BAND, all widths, 3]``."""
    image = Image.new("RGB", (len(panels) * (width + GAP) - GAP, BAND), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), LETTERS)
    for n, panel in enumerate(panels):
        words = panel.words
        while draw.textlength(words, font) > width and len(words) > 1:
            words = words.rstrip("…")[:-1] + "…"
        draw.text((n * (width + GAP), (BAND - LETTERS) // 2 - 2), words, panel.colour, font)
    return np.asarray(image)

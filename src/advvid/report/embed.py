"""Pictures as text inside the page, bounded in size, so that the page needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from advvid.core.plain import opened

# Kilobytes; a picture that is larger without loss is stored with some, and one that stays larger is left out.
MOST_STILL, MOST_MOVING, MOST_DRAWN = 160, 160, 400
# Three changes a second or more may cause seizures (WCAG 2.2, criterion 2.3.1), and an attack may make a clip flicker.
MILLISECONDS = 400
QUALITIES = (80, 60, 40)
TYPES = {".svg": "svg+xml", ".png": "png", ".webp": "webp", ".gif": "gif", ".jpg": "jpeg", ".jpeg": "jpeg"}


@dataclass(frozen=True)
class Embedded:
    """A picture as a ``data:`` address, with its size on the page (0 where it is not known)."""

    address: str
    width: int = 0
    height: int = 0


class Room:
    """How much may still be embedded in a page.

    Args:
        megabytes: for all pictures together.
    """

    def __init__(self, megabytes: float) -> None:
        self.left = round(megabytes * 1e6)
        self.refused = 0

    def take(self, pictures: Sequence[Embedded]) -> bool:
        """Make room for pictures that belong together, or count them as refused."""
        size = sum(len(picture.address) for picture in pictures)
        if size > self.left:
            self.refused += 1
            return False
        self.left -= size
        return True


def address(content: bytes, kind: str) -> str:
    """Return content as a ``data:`` address of an image."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def figure(path: Path) -> Embedded | None:
    """Return a picture file as it is, or in fewer bytes without loss.

    A large SVG gives way to the PNG beside it, and what is no picture to None.
    """
    kind = TYPES.get(path.suffix.lower())
    beside = path.with_suffix(".png")
    try:
        with opened(path) as file:
            content = file.read()
    except OSError:
        return None
    if kind is None or (kind == "svg+xml" and len(content) > 1000 * MOST_DRAWN):
        return figure(beside) if path.suffix.lower() == ".svg" and beside.is_file() else None
    if kind == "svg+xml":
        return Embedded(address(content, kind))
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if kind == "png":
                content, kind = _repacked(image, content)
            if len(content) <= 1000 * MOST_DRAWN:
                return Embedded(address(content, kind), width, height)
            return still(image.convert("RGB"), MOST_DRAWN)
    except (OSError, UnidentifiedImageError):
        return None


def _repacked(image: Image.Image, content: bytes) -> tuple[bytes, str]:
    """Return a PNG's pixels as lossless WebP where that is smaller, with the kind that it is then."""
    held = io.BytesIO()
    image.convert("RGBA").save(held, "WEBP", lossless=True, exact=True, method=4)
    return (held.getvalue(), "webp") if held.tell() < len(content) else (content, "png")


def still(image: Image.Image, kilobytes: int = MOST_STILL) -> Embedded | None:
    """Return a picture as WebP, without loss where that is small enough; None where nothing is."""
    return _smallest([image], kilobytes)


def moving(images: Sequence[Image.Image], kilobytes: int = MOST_MOVING) -> Embedded | None:
    """Return pictures as an animated WebP that repeats; slow, so that nothing flashes three times a second.

    Example:
        >>> moving([Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), "white")]).width
        4
    """
    return _smallest(images, kilobytes)


def _smallest(images: Sequence[Image.Image], kilobytes: int) -> Embedded | None:
    for quality in (None, *QUALITIES):
        held = io.BytesIO()
        how = {"lossless": True} if quality is None else {"quality": quality}
        rest = {"save_all": True, "append_images": list(images[1:]), "duration": MILLISECONDS, "loop": 0}
        images[0].save(held, "WEBP", method=2, **how, **(rest if len(images) > 1 else {}))
        if held.tell() <= 1000 * kilobytes:
            return Embedded(address(held.getvalue(), "webp"), *images[0].size)
    return None

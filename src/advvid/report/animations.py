"""Contact sheets that play: the frames of a sheet are cut out again and shown one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from advvid.core.escape import visible
from advvid.core.plain import opened
from advvid.evaluation.robustness import RobustnessTable
from advvid.report.embed import Embedded, Room, moving, still
from advvid.visuals.pictures import DPI, EDGE, FRAME, GAP, HEAD, TEXT

# What the rows of a sheet show, by their number: of a classifier, and of a model that predicts frames.
ROWS = {
    3: "Rows: clean, adversarial, difference.",
    6: "Rows: clean, adversarial, difference, true next frames, those predicted from clean and from adversarial frames.",
}
SLACK = 2 / DPI  # by which a sheet's sides may be rounded
MOST_WORDS = 200  # beside a clip
MOST_FRAMES = 16  # of a film that is no contact sheet


@dataclass(frozen=True)
class Film:
    """A clip before and after an attack: all frames side by side, and the same one after the other.

    Args:
        title: of the attack.
        alt: what is seen, in words.
        still: every frame.
        moving: the animation; None where it could not be made.
        source: the file that they were cut from.
        caption: what the model read in it; "" where the picture itself says so.
    """

    title: str
    alt: str
    still: Embedded
    moving: Embedded | None
    source: Path
    caption: str = ""


@dataclass(frozen=True)
class Clip:
    """A clip cut out of a contact sheet.

    Args:
        band: all frames side by side.
        frames: the band with one frame at a time.
        rows: what its rows show.
        caption: what a model read in it; "" for a sheet that does not tell.
        said: the same as a sentence.
    """

    band: Image.Image
    frames: tuple[Image.Image, ...]
    rows: str
    caption: str = ""
    said: str = ""

    def told(self, caption: str, said: str) -> Clip:
        """Return the clip with its words, whose frames then need none beside them."""
        words = round(TEXT * DPI)
        bare = tuple(page.crop((words, 0, page.width, page.height)) for page in self.frames)
        caption, said = (visible(text[:MOST_WORDS]) for text in (caption, said))
        return replace(self, frames=bare, caption=caption, said=said)


def films(folder: Path, table: RobustnessTable | None, room: Room, clips: int = 1) -> list[Film]:
    """Return the first clips of every contact sheet of a run, and its films of ``mode=attack``, as far as there is room.

    Args:
        folder: of the run.
        table: its table, where there is one.
        room: in the page.
        clips: of each sheet.
    """
    found: list[Film] = []
    order = [*table.attacks, *table.extra, *table.controls] if table else []
    sheets = sorted(
        (folder / "pictures").glob("*.png"), key=lambda p: (order.index(p.stem) if p.stem in order else 99, p)
    )
    for path in sheets:
        for clip in cut(path)[:clips]:
            alt = clip.said or f"A clip before and after {path.stem}."
            whole, played = still(clip.band), moving(clip.frames) if len(clip.frames) > 1 else None
            if whole is not None and room.take([whole, *([played] if played else [])]):
                found.append(Film(path.stem, f"{alt} {clip.rows}", whole, played, path, clip.caption))
    for path in sorted((folder / "adversarial").glob("*.gif"))[: clips * 4]:
        found += [film] if (film := _given(path, room)) else []
    return found


def cut(path: Path) -> list[Clip]:
    """Cut a sheet of ``advvid.visuals.pictures.draw_sheet`` into its clips; [] for what is none, or has no square frames."""
    try:
        with opened(path) as file, Image.open(file) as picture:
            sheet = picture.convert("RGB")
            titles, told = (str(picture.info.get(key, "")).split("\n") for key in ("Title", "Description"))
    except (OSError, UnidentifiedImageError, ValueError):  # ValueError: words that are longer than they say
        return []
    width, height = (side / DPI for side in sheet.size)
    count = round((width - TEXT - EDGE) / FRAME)
    if count < 1 or abs(TEXT + count * FRAME + EDGE - width) > SLACK:
        return []
    for rows in ROWS:
        one = rows * FRAME + GAP
        clips = round((height - HEAD) / one)
        if clips >= 1 and abs(HEAD + clips * one - height) <= SLACK:
            clipped = [_clip(sheet, HEAD + i * one, rows, count) for i in range(clips)]
            if not len(titles) == len(told) == clips or not all(titles):
                return clipped
            return [clip.told(*words) for clip, *words in zip(clipped, titles, told, strict=True)]
    return []


def _clip(sheet: Image.Image, top: float, rows: int, count: int) -> Clip:
    upper, lower = round(top * DPI), round((top + rows * FRAME) * DPI)
    words = sheet.crop((0, upper, round(TEXT * DPI), lower))
    frames = []
    for index in range(count):
        left, right = (round((TEXT + (index + side) * FRAME) * DPI) for side in (0, 1))
        page = Image.new("RGB", (words.width + round(FRAME * DPI), words.height), "white")
        page.paste(words, (0, 0))
        page.paste(sheet.crop((left, upper, right, lower)), (words.width, 0))
        frames.append(page)
    return Clip(sheet.crop((0, upper, sheet.width, lower)), tuple(frames), ROWS[rows])


def _given(path: Path, room: Room) -> Film | None:
    """Return a film that ``mode=attack`` made of a file, at half its size."""
    try:
        with opened(path) as file, Image.open(file) as picture:
            count = getattr(picture, "n_frames", 1)
            pages = []
            for index in sorted({round(i * (count - 1) / (MOST_FRAMES - 1)) for i in range(MOST_FRAMES)}):
                picture.seek(index)
                page = picture.convert("RGB")
                pages.append(page.resize((page.width // 2, page.height // 2), Image.Resampling.LANCZOS))
    except (OSError, UnidentifiedImageError):
        return None
    whole, played = still(pages[len(pages) // 2]), moving(pages) if len(pages) > 1 else None
    if whole is None or not room.take([whole, *([played] if played else [])]):
        return None
    return Film(
        path.stem, f"{path.stem}: clean, adversarial and magnified difference side by side.", whole, played, path
    )

"""The command line that gets UCF101 or HMDB51 ready: unpack, compare with the lists, and make smaller copies."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from advvid.core import files
from advvid.core.errors import AdvvidError
from advvid.data.archives import NAMED, compare, hmdb_names, refuse_link, ucf_names, unpack
from advvid.data.reencode import shrink_all


@dataclass(frozen=True)
class Source:
    """A data set as its owners give it away.

    ``nested`` says that the archive of videos holds an archive per class. ``names`` reads the listed videos.
    """

    option: str
    title: str
    videos_archive: str
    lists_archive: str
    videos: str
    lists: str
    nested: bool
    names: Callable[[Path], list[str]]
    home: str
    terms: str


UCF101 = Source(
    option="ucf101",
    title="UCF101",
    videos_archive="UCF101.rar",
    lists_archive="UCF101TrainTestSplits-RecognitionTask.zip",
    videos="UCF-101",
    lists="ucfTrainTestlist",
    nested=False,
    names=ucf_names,
    home="the UCF101 page of the Center for Research in Computer Vision, University of Central Florida (crcv.ucf.edu)",
    terms=(
        "The videos come from YouTube and are for research; whoever publishes results cites Soomro, Zamir and Shah, "
        "UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild, CRCV-TR-12-01, 2012."
    ),
)
HMDB51 = Source(
    option="hmdb51",
    title="HMDB51",
    videos_archive="hmdb51_org.rar",
    lists_archive="test_train_splits.rar",
    videos="hmdb51_org",
    lists="testTrainMulti_7030_splits",
    nested=True,
    names=hmdb_names,
    home="the HMDB page of the Serre lab, Brown University",
    terms=(
        "The clips come from films and YouTube and are for research, under the licence that its page states; whoever "
        "publishes results cites Kuehne, Jhuang, Garrote, Poggio and Serre, HMDB: A Large Video "
        "Database for Human Motion Recognition, ICCV 2011."
    ),
)


def main(source: Source, arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the status is 0 when every listed video is there and, if asked for, re-encoded."""
    options = _parser(source).parse_args(arguments)
    console = Console(highlight=False)
    try:
        lines, complete = prepare(
            source,
            options.archives,
            options.out or options.archives,
            options.short_side,
            options.quality,
            options.workers,
        )
    except AdvvidError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    return 0 if complete else 1


def prepare(
    source: Source,
    archives: Path,
    out: Path,
    short_side: int | None = None,
    quality: int = 3,
    workers: int | None = None,
) -> tuple[list[str], bool]:
    """Get a data set ready below ``out``; what is there already is not made again.

    Args:
        source: which data set.
        archives: folder of the owners' archives.
        out: folder for the folders of videos and of lists.
        short_side: of the smaller copies in pixels; None for none.
        quality: mpeg4's quantiser for the copies, 1 (best) to 31.
        workers: processes that re-encode; None for one per core.

    Returns:
        (what to tell the user, whether every listed video is there and was re-encoded).

    Raises:
        AdvvidError: if an archive is missing or damaged, or a setting is impossible.
    """
    lists = _unpacked(source, source.lists, source.lists_archive, archives, out, nested=False)
    names = source.names(lists)
    videos = _unpacked(source, source.videos, source.videos_archive, archives, out, nested=source.nested)
    found = compare(videos, names)
    lines = [f"{source.title}: {found}"]
    complete = found.complete
    if short_side is not None:
        # The settings are part of the name, so that copies of two kinds never mix.
        smaller = out / f"{source.videos}_{short_side}px_q{quality}"
        refuse_link(smaller)
        for kind in sorted({name.rpartition("/")[0] for name in names}):
            refuse_link(smaller / kind)
        missing = set(found.missing)
        failures = shrink_all(videos, smaller, [n for n in names if n not in missing], short_side, quality, workers)
        done = compare(smaller, names)
        lines.append(f"re-encoded with a short side of {short_side}: {done}")
        lines += failures[:NAMED] + (
            [f"and {len(failures) - NAMED:,} more like these"] if len(failures) > NAMED else []
        )
        videos, complete = smaller, done.complete
    lines.append(f"Use it with: dataset={source.option} dataset.root={videos} dataset.splits={lists}")
    if not complete:
        lines.append("Unpack the archive again for what is missing, or go on without it: dataset.on_error=skip")
    return [*lines, source.terms], complete


def _unpacked(source: Source, name: str, archive_name: str, archives: Path, out: Path, nested: bool) -> Path:
    """Return the folder ``out/name``, unpacked if it is not there yet."""
    folder, archive = out / name, archives / archive_name
    # An interrupted run leaves the mark, and the folder is then not taken for a whole one.
    mark = out / f".{name}.unpacking"
    refuse_link(mark)
    if folder.is_dir() and not mark.exists():
        return folder
    if not archive.is_file():
        raise AdvvidError(
            f"{folder} is missing or was unpacked in part, and there is no {archive}: get {source.videos_archive} and "
            f"{source.lists_archive} from {source.home} and name their folder"
        )
    refuse_link(folder)
    files.make_folder(out)
    mark.touch()
    inside = folder if nested else out
    unpack(archive, inside)
    for inner in sorted(folder.glob("*.rar")) if nested else ():
        unpack(inner, folder)
        inner.unlink()
    if not folder.is_dir():
        raise AdvvidError(f"{archive} does not hold the folder {name}: get the original archive of {source.title}")
    mark.unlink()
    return folder


def _parser(source: Source) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python scripts/prepare_{source.option}.py",
        description=(
            f"Get {source.title} ready: unpack its archives, hold the videos against the split lists, and on request make "
            "smaller copies. Nothing is downloaded, and what is done already is kept: the command can be stopped and "
            "repeated."
        ),
        epilog=(
            f"Get {source.videos_archive} and {source.lists_archive} from {source.home}. {source.terms} A .rar is unpacked by "
            "unrar, unar, bsdtar or 7z, whichever is installed."
        ),
    )
    parser.add_argument(
        "archives", type=Path, help="folder that holds the two archives, or what was unpacked from them"
    )
    parser.add_argument("--out", type=Path, help="where to unpack (default: the folder of the archives)")
    parser.add_argument(
        "--short-side",
        type=int,
        metavar="PIXELS",
        help="also make copies whose shorter side has so many pixels, say 128",
    )
    parser.add_argument("--quality", type=int, default=3, help="of the copies: 1 (best) to 31 (smallest); default 3")
    parser.add_argument("--workers", type=int, help="processes that re-encode (default: one per core)")
    return parser

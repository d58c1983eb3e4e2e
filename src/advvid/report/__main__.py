"""Turns run folders and tables of papers into one HTML page and Markdown.

python -m advvid.report outputs/demo --out report.html
python -m advvid.report --leaderboard folder_of_claims --out leaderboard.html
python -m advvid.report --claim shared/mine --out claim.html
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from advvid.core import files
from advvid.core.errors import AdvvidError
from advvid.report.claim_page import claim_page
from advvid.report.joined import read_tables
from advvid.report.leaderboard import leaderboard
from advvid.report.markdown import markdown
from advvid.report.page import build_page


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="advvid report", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="a run, a sweep, or outputs/")
    parser.add_argument(
        "--tables",
        nargs="+",
        type=Path,
        default=[],
        metavar="JSON",
        help="tables of papers (form: advvid.studies.table)",
    )
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page; the Markdown lies beside it")
    parser.add_argument("--title", help="heading of the page")
    parser.add_argument("--megabytes", type=float, default=10.0, help="for all pictures together (10)")
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--leaderboard", action="store_true", help="order the claims (claim.json) below the folders instead"
    )
    other.add_argument("--claim", action="store_true", help="show the one claim below the folders instead")
    parser.add_argument("--clips", type=int, default=1, help="clips of each contact sheet (1)")
    options = parser.parse_args(arguments)
    try:
        if options.out.suffix.lower() != ".html":
            raise AdvvidError(f"--out {options.out} is no HTML file: let its name end in .html")
        if options.leaderboard:
            return _leaderboard(options.folders, options.out, options.title or "Leaderboard")
        if options.claim:
            files.write_text(options.out, claim_page(options.folders, options.title))
            Console().print(Text(f"Written: {options.out}"), soft_wrap=True)
            return 0
        page = build_page(
            options.folders,
            read_tables(options.tables),
            options.title or "Robustness report",
            options.megabytes,
            options.clips,
        )
        beside = options.out.with_suffix(".md")
        files.write_text(options.out, page.html())
        files.write_text(beside, markdown(page, options.out.parent))
    except AdvvidError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    size = options.out.stat().st_size / 1e6
    said = f"Written: {options.out} ({size:.1f} MB), {beside}; {len(page.parts)} runs, {page.raised} raised checks"
    said += f", {page.refused} pictures without room (--megabytes)" if page.refused else ""
    Console().print(Text(said), soft_wrap=True)
    return 0


def _leaderboard(folders: Sequence[Path], out: Path, title: str) -> int:
    page, count = leaderboard(folders, title)
    files.write_text(out, page)
    Console().print(Text(f"Written: {out}; {count} claims"), soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

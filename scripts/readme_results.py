"""Puts the published tables into the README: every block between markers whose Markdown lies in outputs/published/.

A block begins with ``<!-- NAME: written by COMMAND -->`` and ends with ``<!-- end of NAME -->``; its text is
``outputs/published/NAME.md``, such as the tables of the study NAME. A new table needs the two markers, and nothing here.

    python scripts/readme_results.py           # write the README anew
    python scripts/readme_results.py --check   # say which blocks are stale, and fail if any is
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from advvid.core.errors import AdvvidError

TOP = Path(__file__).resolve().parent.parent
PUBLISHED = TOP / "outputs" / "published"
BLOCK = re.compile(r"(<!-- (?P<name>\w+): written by [^\n]*? -->\n)(?P<text>.*?)(<!-- end of (?P=name) -->)", re.DOTALL)
OPENING = re.compile(r"^<!-- (\w+): written by ", re.MULTILINE)
# What a script writes from published JSON, and the test that holds it to that.
ELSEWHERE = {"benchmark": "test_benchmark", "attack_strength": "test_compare_attacks"}


def render(readme: str, published: Path) -> tuple[str, list[str]]:
    """Return the README with every block as it was published, and the names of the blocks that were stale.

    Raises:
        AdvvidError: for a block without an end, or one whose Markdown was not published.
    """
    stale: list[str] = []

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        if name in ELSEWHERE:
            return match[0]
        source = published / f"{name}.md"
        if not source.is_file():
            raise AdvvidError(
                f"the README has a block {name}, but there is no {source}: publish the table or remove the block"
            )
        text = source.read_text(encoding="utf-8")
        text += "" if text.endswith("\n") else "\n"
        if text != match["text"]:
            stale.append(name)
        return f"{match[1]}{text}{match[4]}"

    whole = [match["name"] for match in BLOCK.finditer(readme)]
    broken = [name for name in OPENING.findall(readme) if name not in whole]
    if broken:
        raise AdvvidError(f"the README's block {broken[0]} has no line <!-- end of {broken[0]} -->: add it")
    return BLOCK.sub(block, readme), stale


def find(name: str, whole: str) -> re.Match[str]:
    """Return a block of the README, its text as the group ``text``.

    Raises:
        AdvvidError: if there is no such block.
    """
    for match in BLOCK.finditer(whole):
        if match["name"] == name:
            return match
    raise AdvvidError(f"the README has no block {name}: add <!-- {name}: written by ... --> and <!-- end of {name} -->")


def fill(name: str, text: str, target: Path, readme: Path = TOP / "README.md") -> None:
    """Put a text between the two lines of a block of the README, unless it was published elsewhere than in ``PUBLISHED``."""
    if target.resolve() != PUBLISHED:
        return
    whole = readme.read_text(encoding="utf-8")
    match = find(name, whole)
    readme.write_text(whole[: match.start("text")] + text + whole[match.end("text") :], encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a block is stale")
    parser.add_argument("--readme", type=Path, default=TOP / "README.md")
    parser.add_argument("--published", type=Path, default=PUBLISHED)
    options = parser.parse_args(arguments)
    try:
        text, stale = render(options.readme.read_text(encoding="utf-8"), options.published)
    except AdvvidError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    if options.check and stale:
        sys.stderr.write(f"error: {options.readme.name} is stale in {', '.join(stale)}: run make readme\n")
        return 1
    if not options.check:
        options.readme.write_text(text, encoding="utf-8")
    print(f"{options.readme.name}: " + (f"{', '.join(stale)} written anew" if stale else "every block is as published"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

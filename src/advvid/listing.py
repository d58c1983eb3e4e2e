"""What can be chosen: every option of every group, read from the configuration folder (``make list``)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from advvid.paths import conf_dir

# How people think of a run; other groups follow in alphabetical order.
ORDER = ("model", "dataset", "attack", "defense", "schedule", "suite", "purifier", "detector", "runtime", "tracker")


def describe(path: Path) -> str:
    """Return the description of a YAML file: its first comment that is no directive for Hydra; "" if there is none."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        words = line.lstrip("# ").strip()
        if words and not words.startswith("@package"):
            return words
    return ""


def groups(conf: Path | None = None) -> dict[str, dict[str, str]]:
    """Return the options of every group with their descriptions.

    Args:
        conf: the configuration folder; None for the project's own.

    Returns:
        group to option to description, in the order of the help page. Options in subfolders are named as on the
        command line, such as ``kinfu/table1`` in the group ``experiment``. Groups without options are left out.

    Example:
        >>> groups()["attack"]["pgd"].startswith("PGD")
        True
    """
    root = conf or conf_dir()
    folders = [folder.name for folder in sorted(root.iterdir()) if folder.is_dir() and folder.name != "hydra"]
    known = [*(name for name in ORDER if name in folders), *(name for name in folders if name not in ORDER)]
    found = {}
    for name in known:
        files = sorted((root / name).rglob("*.yaml"))
        options = {path.relative_to(root / name).with_suffix("").as_posix(): describe(path) for path in files}
        if options:
            found[name] = options
    return found


def option_table(group: str, options: dict[str, str], chosen: str | None = None) -> Table:
    """Return a table of a group's options; the default one is marked."""
    table = Table(title=group, title_justify="left", title_style="bold cyan", box=None, show_header=False)
    table.padding, table.pad_edge = (0, 1), False
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, description in options.items():
        marked = name == chosen
        label = Text(f"  {name}", style="bold green" if marked else "bold")
        table.add_row(label, Text(description + (" (default)" if marked else ""), style="" if description else "dim"))
    return table


def main(arguments: Sequence[str] | None = None, console: Console | None = None) -> None:
    """Print the options of all groups, or of those named in ``arguments``."""
    wanted = list(sys.argv[1:] if arguments is None else arguments)
    found = groups()
    for name in wanted:
        if name not in found:
            sys.exit(f"error: there is no group {name!r}: choose from {', '.join(found)}")
    console = console or Console()
    for name in wanted or found:
        console.print(option_table(name, found[name]))
        console.print()


if __name__ == "__main__":
    main()

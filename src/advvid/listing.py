"""What can be chosen: every option of every group, read from the configuration folder (``make list``).

Below a model stands its card, from the lines ``# multiply-adds:`` and ``# weights:`` of its YAML file;
``python -m advvid.listing --cards`` counts the multiply-adds and the weights anew.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from advvid.errors import AdvvidError
from advvid.paths import conf_dir

# How people think of a run; other groups follow in alphabetical order.
ORDER = ("model", "dataset", "attack", "defense", "schedule", "suite", "purifier", "detector", "runtime", "tracker")
# Lines of a file's head that belong to its description: what one clip costs, and which published files can be loaded.
NOTES = ("multiply-adds", "weights")


def describe(path: Path) -> str:
    """Return the description of a YAML file: its first comment that is no directive for Hydra; "" if there is none."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        words = line.lstrip("# ").strip()
        if words and not words.startswith("@package"):
            return words
    return ""


def notes(path: Path) -> dict[str, str]:
    """Return the lines ``# multiply-adds: ...`` and ``# weights: ...`` of a YAML file's head, as far as it has them."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        key, _, text = line.lstrip("# ").partition(": ")
        if key in NOTES:
            found[key] = text.strip()
    return found


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


def option_table(
    group: str, options: Mapping[str, str], chosen: str | None = None, below: Mapping[str, str] | None = None
) -> Table:
    """Return a table of a group's options; the default one is marked, and ``below`` adds text to some of them."""
    table = Table(title=group, title_justify="left", title_style="bold cyan", box=None, show_header=False)
    table.padding, table.pad_edge = (0, 1), False
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, description in options.items():
        marked = name == chosen
        label = Text(f"  {name}", style="bold green" if marked else "bold")
        text = Text(description + (" (default)" if marked else ""), style="" if description else "dim")
        if below and below.get(name):
            text.append(f"\n{below[name]}", style="dim")
        table.add_row(label, text)
    return table


def cards(conf: Path | None = None) -> dict[str, str]:
    """Return what stands below each model: the multiply-adds of one clip and the published weights."""
    found = {}
    for path in sorted(((conf or conf_dir()) / "model").rglob("*.yaml")):
        lines = notes(path)
        cost = f"{lines['multiply-adds']} multiply-adds" if "multiply-adds" in lines else ""
        published = f"weights: {lines['weights']}" if "weights" in lines else ""
        found[path.stem] = "; ".join(part for part in (cost, published) if part)
    return found


def measured(names: Sequence[str], conf: Path | None = None) -> Table:
    """Return a table of the models' weights and multiply-adds, counted now, on one clip of their native size."""
    from advvid.models.cards import measure, native_clip, short  # torch takes seconds to import

    folder = (conf or conf_dir()) / "model"
    table = Table("model", "weights", "multiply-adds", "clip", box=None, pad_edge=False)
    for path in sorted(folder.glob("*.yaml")):
        if not names or path.stem in names:
            cost, clip = measure(path), native_clip(describe(path))
            table.add_row(path.stem, short(cost.weights), short(cost.multiply_adds), " x ".join(map(str, clip)))
    unknown = [name for name in names if not (folder / f"{name}.yaml").is_file()]
    if unknown:
        sys.exit(f"error: there is no model {unknown[0]!r}: python -m advvid.listing model shows them")
    return table


def main(arguments: Sequence[str] | None = None, console: Console | None = None) -> None:
    """Print the options of all groups, or of those named; with ``--cards``, what all models or those named cost."""
    wanted = list(sys.argv[1:] if arguments is None else arguments)
    console = console or Console()
    if "--cards" in wanted:
        try:
            console.print(measured([name for name in wanted if name != "--cards"]))
        except AdvvidError as error:
            sys.exit(f"error: {error}")
        return
    found = groups()
    for name in wanted:
        if name not in found:
            sys.exit(f"error: there is no group {name!r}: choose from {', '.join(found)}")
    for name in wanted or found:
        console.print(option_table(name, found[name], below=cards() if name == "model" else None))
        console.print()


if __name__ == "__main__":
    main()

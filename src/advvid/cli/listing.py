"""``advvid list [GROUP ...]``: every option of every group with its description; ``--config-dir my_conf`` shows yours too.

Below a model stands its card, from the lines ``# multiply-adds:`` and ``# weights:`` of its YAML file, or counted where they
are missing; ``advvid list --cards`` counts the multiply-adds and the weights anew.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from advvid.config.catalogue import Conf, groups, notes, option_files
from advvid.config.folders import folders, origin, split_flags
from advvid.core.errors import AdvvidError


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


def origins(group: str, conf: Sequence[Path]) -> dict[str, str]:
    """Return where each option of a group comes from, in words; advvid's own are left out."""
    found = {name: origin(path, conf) for name, path in option_files(group, conf).items()}
    return {name: words for name, words in found.items() if words}


def cards(conf: Conf = None) -> dict[str, str]:
    """Return what stands below each model: its published weights, and its cost, counted where the file does not say it."""
    found = {}
    for name, path in option_files("model", conf).items():
        lines = notes(path)
        cost = f"{lines['multiply-adds']} multiply-adds" if "multiply-adds" in lines else _counted(path)
        published = f"weights: {lines['weights']}" if "weights" in lines else ""
        found[name] = "; ".join(part for part in (cost, published) if part)
    return found


def _counted(path: Path) -> str:
    """Return the card of a model whose file says nothing of its cost; "" where it cannot be counted."""
    from advvid.models.cards import measure, native_clip, short  # torch takes seconds to import

    try:
        cost, clip = measure(path), " x ".join(map(str, native_clip(path)))
    except AdvvidError:
        return ""
    return f"{short(cost.multiply_adds)} multiply-adds, {short(cost.weights)} weights, {clip}"


def measured(names: Sequence[str], conf: Conf = None) -> Table:
    """Return a table of the models' weights and multiply-adds, counted now, on one clip of their native size."""
    from advvid.models.cards import measure, native_clip, short  # torch takes seconds to import

    files = option_files("model", conf)
    table = Table("model", "weights", "multiply-adds", "clip", box=None, pad_edge=False)
    unknown = [name for name in names if name not in files]
    if unknown:
        sys.exit(f"error: there is no model {unknown[0]!r}: advvid list model shows them")
    for name in names or files:
        try:
            cost, clip = measure(files[name]), native_clip(files[name])
        except AdvvidError:
            if names:
                raise
            table.add_row(name, "–", "–", "–")  # of a folder that nobody named
            continue
        table.add_row(name, short(cost.weights), short(cost.multiply_adds), " x ".join(map(str, clip)))
    return table


def main(arguments: Sequence[str] | None = None, console: Console | None = None) -> None:
    """Print the options of all groups, or of those named; with ``--cards``, what all models or those named cost."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    console = console or Console()
    if {"-h", "--help"} & set(given):
        console.print(Text((__doc__ or "").replace("``", "").strip()))
        return
    try:
        conf, (_, wanted) = folders(given), split_flags(given)
        if "--cards" in wanted:
            console.print(measured([name for name in wanted if name != "--cards"], conf))
            return
    except AdvvidError as error:
        sys.exit(f"error: {error}")
    found = groups(conf)
    for name in wanted:
        if name not in found:
            sys.exit(f"error: there is no group {name!r}: choose from {', '.join(found)}")
    for name in wanted or found:
        below = origins(name, conf)
        if name == "model":
            below |= {model: "; ".join(filter(None, (card, below.get(model)))) for model, card in cards(conf).items()}
        console.print(option_table(name, found[name], below=below))
        console.print()


if __name__ == "__main__":
    main()

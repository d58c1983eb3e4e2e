"""What can be chosen: every option of every group, read from the configuration folder (``make list``).

A file or folder whose name begins with an underscore is no option: it holds what options of its folder inherit by their
``defaults``. Below a model stands its card, from the lines ``# multiply-adds:`` and ``# weights:`` of its YAML file, or
counted where they are missing; ``python -m advvid.listing --cards`` counts the multiply-adds and the weights anew.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text
from yaml import YAMLError

from advvid.errors import AdvvidError
from advvid.paths import conf_dir

# How people think of a run; other groups follow in alphabetical order.
ORDER = ("model", "dataset", "attack", "defense", "schedule", "suite", "purifier", "detector", "runtime", "tracker")
# Lines of a file's head that belong to its description: what one clip costs a model, which published files it can load,
# how long an attack takes, and why suite=all goes without it.
NOT_IN_ALL = "not in suite=all"
NOTES = ("multiply-adds", "weights", "time", NOT_IN_ALL)


def option_files(group: str, conf: Path | None = None) -> dict[str, Path]:
    """Return the YAML file of every option of a group, by the name that stands on the command line.

    Example:
        >>> option_files("attack")["pgd"].name
        'pgd.yaml'
    """
    root = (conf or conf_dir()) / group
    names = {path: path.relative_to(root).with_suffix("") for path in sorted(root.rglob("*.yaml"))}
    return {name.as_posix(): path for path, name in names.items() if not any(p.startswith("_") for p in name.parts)}


def family(path: Path) -> list[Path]:
    """Return a YAML file and the files of its folder that it inherits from; what a file says wins over those before it."""
    found = []
    for entry in [*_read(path).get("defaults", []), "_self_"]:
        if entry == "_self_" and path not in found:
            found.append(path)
        elif isinstance(entry, str) and (path.parent / f"{entry}.yaml").is_file():
            found += family(path.parent / f"{entry}.yaml")
    return found


def settings(path: Path) -> DictConfig:
    """Return the settings of an option's file with those that it inherits; options of other groups are left out.

    Example:
        >>> settings(option_files("model")["c3d"]).net.dropout
        0.5
    """
    merged = OmegaConf.merge(*map(_read, family(path)))
    assert isinstance(merged, DictConfig)
    merged.pop("defaults", None)
    return merged


def _read(path: Path) -> DictConfig:
    try:
        loaded = OmegaConf.load(path)
    except YAMLError as error:
        raise AdvvidError(f"{path} is no YAML file ({' '.join(str(error).split())}): mend it") from None
    return loaded if isinstance(loaded, DictConfig) else OmegaConf.create()


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
    """Return the lines such as ``# weights: ...`` of a YAML file's head, as far as it has them; see ``NOTES``."""
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
    folders = [folder.name for folder in sorted(root.iterdir()) if folder.is_dir() and folder.name[0] not in "._"]
    folders = [name for name in folders if name != "hydra"]
    known = [*(name for name in ORDER if name in folders), *(name for name in folders if name not in ORDER)]
    found = {}
    for name in known:
        options = {option: describe(path) for option, path in option_files(name, root).items()}
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


def measured(names: Sequence[str], conf: Path | None = None) -> Table:
    """Return a table of the models' weights and multiply-adds, counted now, on one clip of their native size."""
    from advvid.models.cards import measure, native_clip, short  # torch takes seconds to import

    files = option_files("model", conf)
    table = Table("model", "weights", "multiply-adds", "clip", box=None, pad_edge=False)
    unknown = [name for name in names if name not in files]
    if unknown:
        sys.exit(f"error: there is no model {unknown[0]!r}: python -m advvid.listing model shows them")
    for name in names or files:
        cost, clip = measure(files[name]), native_clip(files[name])
        table.add_row(name, short(cost.weights), short(cost.multiply_adds), " x ".join(map(str, clip)))
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

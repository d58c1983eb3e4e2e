"""The ``--help`` page: how to run, what can be chosen, the keys most used. The facts are read from ``conf/``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from advvid.cli.listing import option_table, origins
from advvid.config.catalogue import Conf, family, groups, option_files, places

ABOUT = (
    "Trains a video classifier, with or without a defense, attacks it with every column of a suite, "
    "and prints a table of what it still gets right."
)
EXAMPLES = (
    ("python -m advvid.train", "train without a defense on the embedded data, on any machine, and score it"),
    ("python -m advvid.train defense=cat attack=pgd", "train against PGD with a rising budget, then score"),
    ("python -m advvid.train mode=train defense=at", "train only"),
    ("python -m advvid.train mode=eval checkpoint=RUN suite=kinfu", "score a finished run over another suite"),
    (
        "python -m advvid.train mode=eval checkpoint=RUN suite=sanity",
        "sanity checks of steps, budgets and gradients",
    ),
    ("python -m advvid.train mode=eval checkpoint=RUN analysis=strength", "draw curves in place of the suite's table"),
    (
        "python -m advvid.train mode=attack checkpoint=RUN files=clip.avi",
        "make adversarial videos of a file, to look at",
    ),
    ("python -m advvid.train runtime=ddp defense=at", "train and score on every GPU of the machine"),
    ("python -m advvid.train hydra.run.dir=RUN resume=true ...", "go on after an interruption, or start there"),
    ("python -m advvid.train -m attack.eps=2/255,4/255,8/255 seed=0,1,2", "one run for each combination"),
    ("python -m advvid.gather FOLDER --over seed", "all runs below a folder in one table, averaged over seeds"),
    (
        "python -m advvid.train --config-dir my_conf trust=[my_lab] model=my_net",
        "options of your own, from a folder, whose classes lie in a package of your own",
    ),
    ("python -m advvid.train defense=cat --cfg job", "print the whole configuration and run nothing"),
)
# Shown besides the top level of train.yaml, in this order, where some option of the group has the key.
USED_MOST = (
    "attack.eps",
    "attack.step_size",
    "attack.steps",
    "defense.inner_steps",
    "schedule.epochs",
    "schedule.batch_size",
    "dataset.root",
    "dataset.splits",
    "dataset.size",
    "dataset.frames",
    "dataset.limit_train",
    "dataset.limit_test",
    "dataset.on_error",
    "model.checkpoint",
    "suite.include_attack",
    "runtime.device",
    "runtime.precision",
    "tracker.mode",
)
RESULTS = (
    ("robustness.md, robustness.json", "the table, and everything behind it"),
    ("samples.jsonl", "each test clip: its label and every prediction"),
    ("metrics.jsonl, train.log", "each epoch, and what happened"),
    ("checkpoints/last.pt, best.pt", "for mode=eval and resume=true"),
    ("pictures/", "a contact sheet per attack"),
    ("analysis/", "figures (PNG, SVG) and JSON of analysis=..."),
    ("wandb/", "the W&B record, offline unless tracker.mode=online"),
    (".hydra/", "the configuration and the overrides of the run"),
)


@dataclass(frozen=True)
class Key:
    """A configuration key with its default and the comment beside it, as they stand in the YAML file."""

    default: str
    comment: str


def keys(path: Path) -> dict[str, Key]:
    """Return the top-level keys of a YAML file that hold plain values, inherited ones too; ``_target_`` and the like are left out.

    Example:
        >>> keys(conf_dir() / "attack" / "pgd.yaml")["eps"].default
        '8/255'
    """
    pattern = re.compile(r"^(?!defaults:)([A-Za-z]\w*):[ \t]+([^#\s].*?)(?:[ \t]+#\s*(.*))?$", re.MULTILINE)
    texts = [file.read_text(encoding="utf-8") for file in family(path)]
    return {m[1]: Key(m[2], m[3] or "") for text in texts for m in pattern.finditer(text)}


def defaults(conf: Path) -> dict[str, str]:
    """Return the default option of each group, from the defaults list of ``train.yaml``."""
    loaded = OmegaConf.load(conf / "train.yaml")
    entries = loaded.get("defaults", []) if isinstance(loaded, DictConfig) else []
    pairs = [pair for entry in entries if isinstance(entry, DictConfig) for pair in entry.items()]
    return {str(group): str(option) for group, option in pairs if not str(group).startswith("override")}


def print_help(console: Console | None = None, conf: Conf = None) -> None:
    """Print the help page of ``python -m advvid.train``, as wide as the terminal.

    Args:
        console: where to print; None for standard output.
        conf: the folders of options; the first one holds ``train.yaml``.
    """
    console, homes = console or Console(highlight=False), places(conf)
    conf, chosen = homes[0], defaults(homes[0])
    console.print(Text("advvid", style="bold") + Text(": robust video classifiers, measured", style=""))
    console.print(ABOUT)
    _section(console, "Usage")
    console.print(Text("  python -m advvid.train [GROUP=OPTION] [KEY=VALUE] ...", style="bold"))
    console.print(_pairs(EXAMPLES, wide=True))
    _section(console, "Groups", "choose with GROUP=OPTION; make list shows this part alone")
    for group, options in groups(homes).items():
        console.print(option_table(group, options, chosen.get(group), origins(group, homes)))
    _section(console, "Keys", "set with KEY=VALUE; budgets may be fractions, such as 8/255")
    table = Table(box=None, header_style="bold cyan", padding=(0, 1), pad_edge=False)
    table.add_column("  key", no_wrap=True)
    table.add_column("default", overflow="fold", max_width=28)
    table.add_column("", overflow="fold")
    for name, key in _shown_keys(conf, chosen):
        table.add_row(Text(f"  {name}", style="bold"), Text(_readable(key.default)), Text(key.comment, style="dim"))
    console.print(table)
    folder = re.search(r"^  run:\n    dir: *(\S+)", (conf / "train.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    _section(console, "Results", f"in {_readable(folder[1]) if folder else 'the run folder'}, or hydra.run.dir=FOLDER")
    console.print(_pairs(RESULTS))


def _readable(value: str) -> str:
    """Write interpolations as people do: ``${name}/${now:%Y}`` becomes ``<name>/<date_time>``."""
    return re.sub(r"\$\{(?:[\w:]+\.)*([\w:]+)\}", r"<\1>", re.sub(r"\$\{now:[^}]*\}", "<date_time>", value))


def _section(console: Console, name: str, note: str = "") -> None:
    console.print()
    console.print(Text(name, style="bold magenta") + Text(f"  {note}" if note else "", style="dim"))


def _pairs(rows: tuple[tuple[str, str], ...], wide: bool = False) -> Table:
    """Return two columns; with ``wide`` the explanation stands below the command, so that commands can be copied."""
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    table.add_column(overflow="fold")
    for left, right in rows:
        if wide:
            table.add_row(Text(f"  {left}"))
            table.add_row(Text(f"      {right}", style="dim"))
    if wide:
        return table
    table.add_column(overflow="fold")
    for left, right in rows:
        table.add_row(Text(f"  {left}", style="bold"), Text(right, style="dim"))
    return table


def _shown_keys(conf: Path, chosen: dict[str, str]) -> Iterator[tuple[str, Key]]:
    """Yield the top level of ``train.yaml``, then the keys used most, each from the first option that has it."""
    yield from keys(conf / "train.yaml").items()
    for name in USED_MOST:
        group, key = name.split(".")
        files = sorted(option_files(group, conf).values(), key=lambda path: (path.stem != chosen.get(group), path.stem))
        for path in files:
            found = keys(path).get(key)
            if found is not None:
                default = path.stem == chosen.get(group)
                comment = found.comment if default else "; ".join(filter(None, (found.comment, f"{group}={path.stem}")))
                yield name, Key(found.default, comment)
                break

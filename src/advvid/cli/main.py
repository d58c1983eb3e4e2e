"""One command for everything: ``advvid train defense=cat``, ``advvid eval checkpoint=RUN``, ``advvid gather FOLDER``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

import advvid


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Args:
        module: whose ``main`` carries it out.
        about: one line for the help page.
        before: words that are put in front of the user's.
    """

    module: str
    about: str
    before: tuple[str, ...] = ()


RUNS = "advvid.train"
COMMANDS = {
    "train": Command(RUNS, "train a model and score it: advvid train defense=cat attack=pgd"),
    "eval": Command(RUNS, "score a finished run: advvid eval checkpoint=RUN suite=kinfu", ("mode=eval",)),
    "attack": Command(RUNS, "make adversarial videos: advvid attack checkpoint=RUN files=clip.avi", ("mode=attack",)),
    "gather": Command("advvid.runs.gather", "put the tables of many runs into one: advvid gather FOLDER --over seed"),
    "report": Command("advvid.report.__main__", "turn runs into one page: advvid report RUN --out report.html"),
    "export": Command("advvid.sharing.export", "make a folder for others: advvid export RUN --to FOLDER"),
    "verify": Command("advvid.sharing.verify", "attack an exported model again and compare: advvid verify FOLDER"),
    "papers": Command("advvid.studies.__main__", "make the tables of the papers and our own: advvid papers list"),
    "list": Command("advvid.cli.listing", "show every model, data set, attack, defense, schedule and suite"),
    "doctor": Command("advvid.cli.doctor", "say what this machine has, how fast it is, and which options suit it"),
    "prepare": Command("advvid.cli.prepare", "unpack and check a data set: advvid prepare ucf101 FOLDER_OF_ARCHIVES"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a subcommand and return its exit status; ``advvid KEY=VALUE ...`` is ``advvid train KEY=VALUE ...``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        _print_help()
        return 0
    if words[0] == "--version":
        Console().print(f"advvid {advvid.__version__}", highlight=False)
        return 0
    name = words[0]
    if name not in COMMANDS:
        # A switch of Hydra or an override means a run.
        if not name.startswith("-") and "=" not in name:
            sys.stderr.write(f"error: there is no command {name!r}: choose {', '.join(COMMANDS)}\n")
            return 2
        words, name = ["train", *words], "train"
    command = COMMANDS[name]
    # Each command reads the words itself and names itself in its help; a shell completes the words of one program.
    completes = bool({"-sc", "--shell-completion"} & set(words))
    sys.argv = ["advvid" if completes else f"advvid {name}", *command.before, *words[1:]]
    status = importlib.import_module(command.module).main()
    return int(status or 0)


def _print_help() -> None:
    console = Console(highlight=False)
    console.print("usage: advvid COMMAND [...]; advvid COMMAND --help says more\n")
    for name, command in COMMANDS.items():
        console.print(Text.assemble((f"  {name:<9}", "bold cyan"), command.about), soft_wrap=True)
    console.print("\n  advvid --version says which version this is")

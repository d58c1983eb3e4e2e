"""The tables of the papers and our own: ``advvid papers list``, ``run kinfu-table2 --scale demo``, ``check``, ``claims``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.logging import RichHandler
from rich.markdown import Markdown

from advvid.core.errors import AdvvidError
from advvid.core.files import remove_abandoned
from advvid.distributed.signals import interruptible
from advvid.studies.catalogue import find_targets, papers
from advvid.studies.check import dry_run
from advvid.studies.claims import page, record, verdicts
from advvid.studies.few_clips import Copies
from advvid.studies.overview import listing
from advvid.studies.plan import DEMO, FULL, SCALES, Study, Target
from advvid.studies.publish import FILES, kept, publish, write
from advvid.studies.summary import publish_summary
from advvid.studies.table import Verdict
from advvid.studies.tables import make_table, markdown
from advvid.studies.weights import check_weights, read_weights
from advvid.studies.work import TROUBLE, Runner, WorkError, stop_all

DATA = ("ucf101", "hmdb51", "youtube8m", "cifar10", "moving_mnist")
log = logging.getLogger(__name__)


def run(options: argparse.Namespace, console: Console) -> int:
    """Make the tables that were asked for; 1 where one has no number at all."""
    wanted = list(
        {target.id: (study, target) for name in options.targets for study, target in find_targets(name)}.values()
    )
    for study, target in wanted:
        if options.scale not in study.scales:
            raise AdvvidError(f"{target.id} is not made at this scale: give --scale {' or '.join(study.scales)}")
    remove_abandoned((options.root / options.scale).rglob(".*.tmp"))
    weights = read_weights(options.weights)
    if options.scale == FULL:
        check_weights(wanted, weights, options.overrides)
    elif weights:
        raise AdvvidError("weights are for the papers' networks: leave WEIGHTS out, or give SCALE=full")
    runner = Runner(options.root, options.scale, _given(options), options.threads, weights)
    if options.jobs > 1:
        ahead(runner, wanted, options.jobs)
    empty = []
    try:
        for study, target in wanted:
            try:
                full = _one(runner, study, target, options, console)
            except TROUBLE as error:  # one table's trouble does not keep the others
                log.error("%s: %s: %s", target.id, type(error).__name__, error)
                full = False
            if not full:
                empty.append(target.id)
    finally:  # what is there is judged even where the rest was stopped
        _settle(options, [target.id for _, target in wanted])
    if empty:
        log.error("Without any number or picture: %s", ", ".join(empty))
    return 1 if empty else 0


def _one(runner: Runner, study: Study, target: Target, options: argparse.Namespace, console: Console) -> bool:
    """Make one table, write and show it; False where it has nothing though it should."""
    name = f"study-{target.id}" if study.own else f"{target.id}" + (" SCALE=demo" if options.scale == DEMO else "")
    command = f"make {name}"
    table = make_table(runner, study, target, command)
    files = write(table, options.root / options.scale / "tables")
    console.print(Markdown(markdown(table)) if console.is_terminal else markdown(table))
    console.print("Written: " + ", ".join(map(str, files)), soft_wrap=True)
    done, cells = table.counted
    return not list(target.wanted(options.scale)) or bool(done if cells else table.figures)


def _check(options: argparse.Namespace, console: Console) -> int:
    """Say what was tried at full scale; 1 where something failed."""
    real = os.environ.get("ADVVID_REALDATA")
    if options.ucf101:
        copies = Copies(*_copy(options.ucf101), *(_copy(options.hmdb51) if options.hmdb51 else ()))
    elif real:
        copies = Copies.below(Path(real))
    else:
        raise AdvvidError(
            "check needs a few videos of UCF101 and its lists: make check-papers UCF101=<folder of classes>,<folder of lists>"
        )
    unknown = set(options.papers) - set(papers())
    if unknown:
        raise AdvvidError(f"there is no paper {sorted(unknown)[0]!r}: choose from {', '.join(papers())}")
    failed = False
    for line in dry_run(copies, tuple(options.papers)):
        console.print(line, soft_wrap=True, markup=False)
        failed |= line.startswith("failed")
    return int(failed)


def _copy(given: str) -> tuple[Path, Path]:
    """Return the folders of videos and lists of ``FOLDER,LISTS``; one alone holds both."""
    videos, _, lists = given.partition(",")
    return Path(videos), Path(lists or videos)


def _judge(options: argparse.Namespace, console: Console) -> int:
    """Judge the statements from all tables made so far and show the page of verdicts."""
    scales = [options.scale] if options.scale else [DEMO, FULL]
    made = [kept(options.root / scale / "tables") for scale in scales]
    if not any(made):
        raise AdvvidError(f"there is no table below {options.root}: make some first, as with make papers SCALE=demo")
    for tables in made:
        found = record(verdicts(tables), options.publish)
    text = page(found)
    console.print(Markdown(text) if console.is_terminal else text)
    return 0


def _settle(options: argparse.Namespace, names: Sequence[str]) -> None:
    """Judge the statements once, from all tables made so far, write the verdicts into these and publish those asked for."""
    folder = options.root / options.scale / "tables"
    tables = kept(folder)
    judged = verdicts(tables)
    for name, table in tables.items():
        own = tuple(
            Verdict(claim, found["says"], found["verdict"], options.scale, found["statistic"], tuple(found["ci95"]))
            for claim, found in judged.items()
            if name in found["tables"]
        )
        if own != table.claims:  # of another table's making, too
            write(replace(table, claims=own), folder)
        if options.publish is not None and name in names:
            publish(replace(table, claims=own), options.publish)
    if options.publish is not None and (options.publish / FILES[False]).is_file():
        record(judged, options.publish)
        publish_summary(options.publish, options.root)


def ahead(runner: Runner, wanted: Sequence[tuple[Study, Target]], jobs: int) -> None:
    """Carry out all work several at a time; the tables then find it finished, and say what failed.

    Trainings that others begin with come first, and evaluations of one training not side by side, so that nobody waits.
    """
    pairs = {(study.name, *pair): study for study, target in wanted for pair in target.wanted(runner.scale)}
    first = {
        (study.name, name, ""): study
        for (_, run, score), study in pairs.items()
        for name in runner.trainings(study, run, score)
        if name != run
    }
    nth: dict[tuple[str, str], int] = {}
    place: dict[tuple[str, str, str], int] = {}
    for paper, run, score in pairs:
        place[paper, run, score] = nth[paper, run] = nth.get((paper, run), -1) + 1
    every = {**first, **pairs}

    def one(work: tuple[str, str, str]) -> None:
        try:
            if work[2]:
                runner.scored(every[work], work[1], work[2])
            else:
                runner.trained(every[work], work[1])
        except TROUBLE as error:
            log.warning("%s, %s of %s: %s", work[0], work[2] or "training", work[1], error)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            list(pool.map(one, first))
            list(pool.map(one, sorted(pairs, key=lambda work: place[work])))
        except BaseException:  # a signal: the runs save and end, and no other begins
            stop_all()
            pool.shutdown(cancel_futures=True)
            raise


def _given(options: argparse.Namespace) -> dict[str, list[str]]:
    """Return the overrides that say where data and weights are.

    Raises:
        AdvvidError: if there is nothing at one of the places.
    """
    found = {}
    for name in DATA:
        place = getattr(options, name)
        if place:
            root, _, splits = place.partition(",")
            for given in (root, splits):
                if given and not Path(given).exists():
                    raise AdvvidError(
                        f"there is no {given}, where {name} should be: give {name.upper()}=<folder>, or <folder>,<lists>"
                    )
            second = "vocabulary" if name == "youtube8m" else "splits"
            found[name] = [f"dataset.root={root}"] + ([f"dataset.{second}={splits}"] if splits else [])
    if options.overrides:
        found[""] = list(options.overrides)
    return found


class Renamed(argparse.Action):
    """``--word``, which ``--override`` was called in version 0.1."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Keep the override and say what it is called now."""
        sys.stderr.write("notice: --word is called --override now\n")
        namespace.overrides = [*namespace.overrides, values]


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(prog="advvid papers", description=(__doc__ or "").split("\n", 1)[0].replace("``", ""))
    commands = top.add_subparsers(dest="command", required=True)
    show = commands.add_parser("list", help="a line for each table and figure")
    show.add_argument("--root", type=Path, default=Path("outputs/papers"))
    check = commands.add_parser("check", help="try everything at full scale in a few steps, on a few videos")
    check.add_argument("papers", nargs="*", metavar="PAPER", help="such as kinfu; all by default")
    check.add_argument("--ucf101", metavar="FOLDER,LISTS", help="a copy of it; else what ADVVID_REALDATA names")
    check.add_argument("--hmdb51", metavar="FOLDER,LISTS", help="the same; left out: its networks are not tried")
    judged = commands.add_parser("claims", help="judge what the papers say from the tables made so far")
    judged.add_argument("--root", type=Path, default=Path("outputs/papers"))
    judged.add_argument("--scale", choices=SCALES, help="one alone (default: both, full where there are tables of it)")
    judged.add_argument("--publish", type=Path, default=Path("outputs/published"), help="where claims.json goes")
    make = commands.add_parser("run", help="carry out what is missing of some tables, and print them")
    make.add_argument(
        "targets",
        nargs="+",
        metavar="TARGET",
        help="such as kinfu-table2, a whole study such as embedded, or all: those of the papers",
    )
    make.add_argument("--scale", choices=SCALES, default=FULL)
    make.add_argument("--root", type=Path, default=Path("outputs/papers"), help="where runs and tables are kept")
    make.add_argument("--publish", type=Path, help="also put the tables into papers.json of this folder")
    make.add_argument("--jobs", type=int, default=1, help="processes side by side")
    make.add_argument("--threads", type=int, help="of each process (default: as the run's runtime says)")
    for name in DATA:
        make.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            metavar="FOLDER",
            help="where it is, or FOLDER,LISTS (youtube8m: FOLDER,VOCABULARY)",
        )
    make.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="NETWORK=FILE",
        help="what trainings of this network start from, as i3d=/w/i3d.pt; once for each",
    )
    make.add_argument("--override", action="append", dest="overrides", default=[], metavar="OPTION", help="as seed=1")
    make.add_argument("--word", action=Renamed, dest="overrides", help=argparse.SUPPRESS)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = parser().parse_args(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False, show_level=False)]
    )
    try:
        if options.command == "list":
            console.print(listing(options.root))
            return 0
        if options.command == "check":
            return _check(options, console)
        if options.command == "claims":
            return _judge(options, console)
        with interruptible():
            return run(options, console)
    except (WorkError, AdvvidError, HydraException, OmegaConfBaseException) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"{str(stop) or 'interrupted'}: the same command goes on from here\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())

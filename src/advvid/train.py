"""The command line: ``python -m advvid.train defense=cat attack=pgd``."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from advvid.config.command_line import MULTIRUN, as_typed, odd_run_folder, several_trackers
from advvid.config.folders import folders, split_flags, use
from advvid.core.errors import AdvvidError
from advvid.core.files import REMEDIES, storage_error
from advvid.core.paths import conf_dir
from advvid.core.processes import end_after_parent
from advvid.core.record import recorded
from advvid.distributed.signals import GO_ON, StoppedError, interruptible

log = logging.getLogger(__name__)


# Hydra's own, which tries all combinations and asks no run for a value.
SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
# Hydra prints a line of its own before it passes an exception on; a single run's problem is kept here instead.
_problems: list[AdvvidError] = []
# Empty until Hydra has made the folder of a run and hands over.
_begun: list[bool] = []
# The run folder, where its name is one that Hydra cannot keep.
_folder: list[Path] = []


def task(cfg: DictConfig) -> float | None:
    """Carry out one run; a job of a multirun that fails says so at once and leaves the others alone.

    Returns:
        what a search over settings chooses by; None where nothing searches.
    """
    _begun.append(True)
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        with interruptible():
            return _run(cfg)
    except StoppedError as stop:
        # No error of one job: the others of a sweep do not begin.
        raise KeyboardInterrupt(str(stop)) from None
    except AdvvidError as error:
        if sweeping:
            log.error("job %s failed: %s", HydraConfig.get().job.num, error)
            raise
        _problems.append(error)
    except OSError as error:
        # What other libraries write: a disk's answer is no fault of the code.
        if error.errno not in REMEDIES:
            raise
        place = Path(error.filename) if isinstance(error.filename, str) else Path(HydraConfig.get().runtime.output_dir)
        problem = storage_error(error, place)
        if sweeping:
            log.error("job %s failed: %s", HydraConfig.get().job.num, problem)
            raise problem from None
        _problems.append(problem)
    return None


def _run(cfg: DictConfig) -> float | None:
    from advvid.config.options import check_top
    from advvid.config.trust import trust_as_typed
    from advvid.experiment.run import run
    from advvid.experiment.saved import adopt
    from advvid.experiment.search import sought

    check_top(cfg)
    hydra_cfg = HydraConfig.get()
    run_dir = _folder[0] if _folder else Path(hydra_cfg.runtime.output_dir)
    overrides = list(hydra_cfg.overrides.task)
    trust_as_typed(cfg.trust, overrides)
    key = "hydra.sweep.dir" if hydra_cfg.mode == RunMode.MULTIRUN else "hydra.run.dir"
    if cfg.resume and cfg.mode != "eval" and not any(f"{key}=" in o for o in hydra_cfg.overrides.hydra):
        raise AdvvidError(f"resume=true needs the folder of the run to go on with: add {key}=<folder>")
    choices = dict(hydra_cfg.runtime.choices)
    told = {
        "config.yaml": OmegaConf.to_yaml(cfg),
        "hydra.yaml": OmegaConf.to_yaml(OmegaConf.create({"hydra": hydra_cfg})),
        "overrides.yaml": OmegaConf.to_yaml(hydra_cfg.overrides.task),
    }
    # Of processes that torchrun started, the first one writes.
    with recorded(run_dir, told) if os.environ.get("RANK", "0") == "0" else nullcontext():
        cfg, choices = adopt(cfg, choices, overrides)
        result = run(cfg, run_dir, choices)
    log.info("results are in %s", run_dir)
    searching = hydra_cfg.mode == RunMode.MULTIRUN and hydra_cfg.sweeper.get("_target_") != SWEEPER
    return sought(cfg, run_dir, result) if searching else None


@contextmanager
def _without_bases(arguments: Sequence[str]) -> Iterator[None]:
    """Leave what options inherit from, whose names begin with an underscore, out of what a shell's completion suggests."""
    if not any(a.startswith("query=") for a in arguments):
        yield
        return
    # Hydra knows no subcommands: advvid train model= is advvid model= to it.
    os.environ["COMP_LINE"] = re.sub(r"^(\S+\s+)(train|eval|attack)\s", r"\1", os.environ.get("COMP_LINE", ""))
    with redirect_stdout(io.StringIO()) as said:
        yield
    sys.stdout.write(re.sub(r"\S*[=/,\[]_\S*\s?", "", said.getvalue()))


def main() -> None:
    """Run the command line: help, one run or a multirun; problems come out as one sentence and exit status 1."""
    try:
        places = folders(sys.argv[1:])
        use(places)
    except AdvvidError as error:
        sys.exit(f"error: {error}")
    if {"--help", "-h"} & set(sys.argv[1:]):
        from advvid.cli.help import print_help

        print_help(conf=places)
        return
    from advvid.config.explain import refuse_bases
    from advvid.experiment.saved import with_saved_choices

    end_after_parent()
    # Hydra then raises its errors instead of printing them, so that they can be put into one clear sentence.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        # Hydra takes overrides on one side of a flag only; people write them on both.
        _, words = split_flags(with_saved_choices(several_trackers(sys.argv[1:])))
        flags = [a for a in words if a in MULTIRUN]
        refuse_bases(words, places)
        _folder[:] = filter(None, [odd_run_folder(words)])
        sys.argv[1:] = [*flags, *(a for a in as_typed(words) if a not in flags)]
        with _without_bases(sys.argv[1:]):
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")(task)()
        if _problems:
            raise _problems[0]
    except AdvvidError as error:
        sys.exit(f"error: {error}")
    except (HydraException, OmegaConfBaseException) as error:
        from advvid.config.explain import explain

        sys.exit(f"error: {explain(error, places)}")
    except ValueError as error:
        from advvid.config.explain import no_option

        sentence = no_option(error, sys.argv[1:], places)
        if sentence is None:  # a fault of the code, which keeps its traceback
            raise
        sys.exit(f"error: {sentence}")
    except OSError as error:
        if _begun or error.errno not in REMEDIES:
            raise
        # Hydra's own files in it have names that tell a user nothing.
        place = HydraConfig.get().runtime.output_dir if HydraConfig.initialized() else error.filename
        sys.exit(f"error: the run folder {place} cannot be made ({error.strerror}): choose another hydra.run.dir")
    except KeyboardInterrupt as stop:
        said = str(stop)
        if "goes on" not in said:
            said = f"{said or 'interrupted'}; what is finished is kept: {GO_ON}"
        sys.exit(f"error: {said}")


class _Callable(ModuleType):
    """Makes ``advvid.train("defense=cat", run_dir=...)`` a call, though ``advvid.train`` is this module as well."""

    def __call__(self, *overrides: str, run_dir: str | Path, which: Literal["last", "best"] = "last") -> Any:
        """Train and score; see ``advvid.api.runs.train``."""
        from advvid.api.runs import train

        return train(*overrides, run_dir=run_dir, which=which)


sys.modules[__name__].__class__ = _Callable

if __name__ == "__main__":
    main()

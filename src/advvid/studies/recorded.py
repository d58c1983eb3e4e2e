"""What each paper or its code sets at full scale, option by option, held against our plans.

``settings/<paper>.yaml`` lists blocks: which trainings, evaluations or suites (``runs``, ``scores``, ``suites``; patterns such as
``at_*``), where the values stand (``source``), and the ``settings``. A value alone has to be the plan's. Where the plan
differs, all three are given, and the table of the paper says so::

    schedule.epochs: {recorded: not stated, plan: 10, because: the models of figure 1 have 10 epochs}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from advvid.config.composed import composed
from advvid.core.digests import canonical
from advvid.core.errors import AdvvidError
from advvid.studies.catalogue import papers
from advvid.studies.plan import FULL, RUN, TRAIN, Study
from advvid.studies.published import read_yaml

HERE = Path(__file__).resolve().parent / "settings"
# What decides a training; a paper that does not state one of them has "not stated" here.
DECISIVE = (
    "dataset._target_",
    "schedule.optimizer._target_",
    "schedule.optimizer.lr",
    "schedule.epochs",
    "schedule.batch_size",
)
# What decides a clip of videos.
OF_CLIPS = ("dataset.frames", "dataset.size", "dataset.stride")
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Setting:
    """One option of one training, evaluation or suite, as the paper has it and as the plan has it.

    Args:
        paper: whose it is.
        work: the training, the evaluation, or ``suite=<name>``.
        option: its path in the configuration.
        recorded: the paper's value, or its code's.
        plan: the value that our plan has.
        wanted: what the plan should have: the recorded value, or the named difference.
        because: why it differs; empty where it does not.
        source: where the recorded value stands.
    """

    paper: str
    work: str
    option: str
    recorded: Any
    plan: Any
    wanted: Any
    because: str
    source: str

    @property
    def agrees(self) -> bool:
        """Whether the plan has the recorded value."""
        return bool(canonical(self.plan) == canonical(self.recorded))

    @property
    def problem(self) -> str:
        """What is wrong: a difference that is not named, or a named one that is none; empty where all is well."""
        where = f"{self.paper}, {self.work}: {self.option}"
        if canonical(self.plan) != canonical(self.wanted):
            named = f" and the named difference is {self.wanted}" if self.because else ""
            return f"{where} is {self.plan} in the plan; recorded is {self.recorded} ({self.source}){named}"
        if self.because and self.agrees:
            return f"{where} is listed as a difference and is none: {self.recorded}"
        return ""


def compare(names: Sequence[str] = ()) -> list[Setting]:
    """Hold the plans of some papers (of all) against what is recorded.

    Raises:
        AdvvidError: if a plan cannot be composed, or a block names nothing that exists.

    Example:
        >>> [setting.problem for setting in compare(("aart",)) if setting.problem]       # doctest: +SKIP
        []
    """
    return [setting for name, study in papers(names).items() for setting in _of_paper(name, study)]


def unstated(names: Sequence[str] = ()) -> Iterator[str]:
    """Yield a sentence for each decisive option of a training of which nothing is recorded."""
    settings = compare(names)
    stated = {(setting.paper, setting.work, setting.option) for setting in settings}
    for name, study in papers(names).items():
        for run, cfg in _composed(study)["runs"].items():
            wanted = [*DECISIVE, *(option for option in OF_CLIPS if option.split(".")[1] in cfg.dataset)]
            yield from (
                f"{name}, {run}: nothing is recorded of {option}"
                for option in wanted
                if (name, run, option) not in stated
            )


def _of_paper(name: str, study: Study) -> Iterator[Setting]:
    works = _composed(study)
    for block in read_yaml(HERE / f"{name}.yaml"):
        kind = next(kind for kind in ("runs", "scores", "suites") if kind in block)
        for pattern in block[kind]:
            matching = (
                {f"suite={pattern}": _suite(pattern)}
                if kind == "suites"
                else {found: cfg for found, cfg in works[kind].items() if fnmatchcase(found, pattern)}
            )
            if not matching:
                raise AdvvidError(f"settings/{name}.yaml: no {kind} of this paper are called {pattern}")
            for work, cfg in matching.items():
                for option, value in block["settings"].items():
                    yield _setting(name, work, option, value, cfg, block["source"])


def _setting(paper: str, work: str, option: str, value: Any, cfg: DictConfig, source: str) -> Setting:
    named = value if isinstance(value, Mapping) else {"recorded": value, "plan": value, "because": ""}
    found = OmegaConf.select(cfg, option, default="absent")
    plan = OmegaConf.to_container(found, resolve=False) if OmegaConf.is_config(found) else found
    return Setting(paper, work, option, named["recorded"], plan, named["plan"], named["because"], source)


@cache
def _suite(name: str) -> DictConfig:
    return composed([f"suite={name}"])


def _composed(study: Study) -> dict[str, dict[str, DictConfig]]:
    return _composed_by_name(study.name)


@cache
def _composed_by_name(name: str) -> dict[str, dict[str, DictConfig]]:
    study = papers((name,))[name]
    found: dict[str, dict[str, DictConfig]] = {"runs": {}, "scores": {}}
    for work, overrides in study.works(FULL):
        if work.program == TRAIN:
            kind = "runs" if work.name in study.runs else "scores"
            found[kind][work.name] = composed([RUN.sub("outputs/x", override) for override in overrides])
    return found

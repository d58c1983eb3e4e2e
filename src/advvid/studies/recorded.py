"""What each paper or its code sets at full scale, option by option, held against our plans.

``settings/<paper>.yaml`` lists blocks: which trainings, evaluations or suites (``runs``, ``scores``, ``suites``; patterns such as
``at_*``), where the values stand (``source``), and the ``settings``. A value alone has to be the plan's. Where the plan
differs, all three are given, and the table of the paper says so::

    schedule.epochs: {recorded: not stated, plan: 10, because: the models of figure 1 have 10 epochs}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from advvid.core.digests import canonical
from advvid.core.errors import AdvvidError
from advvid.studies.catalogue import papers
from advvid.studies.composing import planned
from advvid.studies.plan import FULL, TRAIN, Study
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
    return [replace(setting, plan=_value(overrides, setting.option)) for setting, overrides in _settings(papers(names))]


def differences(names: Sequence[str] = ()) -> list[Setting]:
    """Return the differences that are named, as they stand there: ``compare`` tells whether the plans have them.

    Raises:
        AdvvidError: if a block names nothing that exists.
    """
    return [setting for setting, _ in _settings(papers(names)) if setting.because]


def unstated(names: Sequence[str] = ()) -> Iterator[str]:
    """Yield a sentence for each decisive option of a training of which nothing is recorded."""
    studies = papers(names)
    stated = {(setting.paper, setting.work, setting.option) for setting, _ in _settings(studies)}
    for name, study in studies.items():
        for run, overrides in _works(study)["runs"].items():
            data = planned(overrides).dataset
            wanted = [*DECISIVE, *(option for option in OF_CLIPS if option.split(".")[1] in data)]
            yield from (
                f"{name}, {run}: nothing is recorded of {option}"
                for option in wanted
                if (name, run, option) not in stated
            )


def _settings(studies: Mapping[str, Study]) -> Iterator[tuple[Setting, Sequence[str]]]:
    """Yield every setting as it is recorded, the plan as it should be, with the overrides that the plan has."""
    for name, study in studies.items():
        works = _works(study)
        for block in read_yaml(HERE / f"{name}.yaml"):
            kind = next(kind for kind in ("runs", "scores", "suites") if kind in block)
            for pattern in block[kind]:
                matching = (
                    {f"suite={pattern}": [f"suite={pattern}"]}
                    if kind == "suites"
                    else {work: told for work, told in works[kind].items() if fnmatchcase(work, pattern)}
                )
                if not matching:
                    raise AdvvidError(f"settings/{name}.yaml: no {kind} of this paper are called {pattern}")
                for work, overrides in matching.items():
                    for option, value in block["settings"].items():
                        named = (
                            value if isinstance(value, Mapping) else {"recorded": value, "plan": value, "because": ""}
                        )
                        recorded, plan, because = named["recorded"], named["plan"], named["because"]
                        yield Setting(name, work, option, recorded, plan, plan, because, block["source"]), overrides


def _value(overrides: Sequence[str], option: str) -> Any:
    found = OmegaConf.select(planned(overrides), option, default="absent")
    return OmegaConf.to_container(found, resolve=False) if OmegaConf.is_config(found) else found


def _works(study: Study) -> dict[str, dict[str, list[str]]]:
    """Return what a study's trainings and evaluations are told, by ``runs`` and ``scores`` and name."""
    found: dict[str, dict[str, list[str]]] = {"runs": {}, "scores": {}}
    for work, overrides in study.works(FULL):
        if work.program == TRAIN:
            found["runs" if work.name in study.runs else "scores"][work.name] = overrides
    return found

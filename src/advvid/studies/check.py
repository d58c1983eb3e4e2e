"""A dry run: every table at full scale, as far as it can be tried without its data set and a GPU.

Each training and evaluation is composed and held against what is recorded of its paper; the classes come from the official
lists of UCF101 and HMDB51; then each kind of training of the papers (network, clip shape, data set and defense) takes two
steps at full size, its inner attacks cut to one step, and its model is scored on one clip under attack: on the few real
clips, or on embedded data in the shape of a data set of which there are none.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from advvid.config.composed import composed
from advvid.core.errors import AdvvidError
from advvid.studies.catalogue import papers, studies
from advvid.studies.composing import planned
from advvid.studies.few_clips import Copies
from advvid.studies.plan import FULL, RUN, TRAIN, Study, Work
from advvid.studies.recorded import compare

CLASSES = {"ucf101": 101, "hmdb51": 51}
# What makes a training two steps long, and an evaluation one clip under one attack.
SHORT = (
    "schedule.epochs=1",
    "schedule.batch_size=1",
    "dataset.limit_train=2",
    "dataset.limit_val=1",
    "dataset.limit_test=1",
    "dataset.workers=0",
    "evaluation.batch_size=1",
    "suite.include_attack=false",
    "evaluation.pictures=0",
    "tracker=none",
    "runtime=cpu",
)
NOT_TRIED = "no videos were given"
ONE_ATTACK = ("suite=quick", "~suite.masked_pgd_10", "~suite.frame_border_10")
# Embedded data in the shape of those of which no clips are at hand.
STAND_INS = {
    "youtube8m": ("dataset=youtube8m_mini", "dataset.frames=300"),
    "cifar10": ("dataset=motion", "dataset.frames=1", "dataset.stride=1", "dataset.size=32"),
    "moving_mnist": ("dataset=moving_digits",),
}


@dataclass(frozen=True)
class Trial:
    """A training that stands for all of its kind.

    Args:
        paper: whose it is.
        run: its name there.
        kind: network, clip shape and defense.
        data: its data set.
    """

    paper: str
    run: str
    kind: str
    data: str

    @property
    def work(self) -> Work:
        """The training."""
        return studies()[self.paper].runs[self.run]

    def __str__(self) -> str:
        return f"{self.paper}/{self.run}: {self.kind}, {self.data}"


def trials(names: Sequence[str] = ()) -> list[Trial]:
    """Return a training of each kind of some papers (of all), and before each those that it needs."""
    found: dict[str, Trial] = {}
    for study in papers(names).values():
        for name, run in study.runs.items():
            if run.program != TRAIN:
                continue
            trial = _trial(study, name)
            kind = f"{trial.data} {trial.kind}"
            if kind in found:
                continue
            for needed in run.needs(FULL):  # trained first
                if all((other.paper, other.run) != (study.name, needed) for other in found.values()):
                    found[f"{study.name}/{needed}"] = _trial(study, needed)
            found[kind] = trial
    return list(found.values())


def _trial(study: Study, name: str) -> Trial:
    run = study.runs[name]
    return Trial(study.name, name, _kind(planned(run.overrides[FULL])), run.data[0])


def _kind(cfg: DictConfig) -> str:
    name = str(cfg.model.get("net", cfg.model).get("_target_")).rsplit(".", 1)[-1]
    net = cfg.model.net if "net" in cfg.model else {}
    parts = [name, *(str(net[key]) for key in ("family", "depth", "cell") if key in net)]
    frames, size = cfg.dataset.get("frames", 1), cfg.dataset.get("size")
    shape = f"{frames} x {size} x {size}" if size else f"{frames} frames"
    defense = str(cfg.defense.get("_target_")).rsplit(".", 1)[-1]
    attacks = ", ".join(cfg.defense.get("attacks") or {})
    inner = "" if defense == "NoDefense" else f" ({attacks or str(cfg.attack.get('_target_')).rsplit('.', 1)[-1]})"
    behind = f" behind {', '.join(cfg.purifier)}" if cfg.purify_training else ""
    # AT is tried with each of its attacks, every other defense with one.
    return f"{'-'.join(parts)} {shape}, {defense}{inner if defense == 'AT' else ''}{behind}"


def _named(work: Work, folder: Path) -> list[str]:
    """Return a training's overrides, the folders of others in them."""
    return [RUN.sub(lambda found: str(folder / found[1]), override) for override in work.overrides[FULL]]


def attempt(trial: Trial, copies: Copies, folder: Path) -> str:
    """Train two steps and score one clip, in ``folder`` under the name of the run; return what went wrong, or "".

    Raises:
        AdvvidError: if the given folders hold no video of a listed class.
    """
    overrides = _named(trial.work, folder)
    if trial.data in STAND_INS:
        overrides = [override for override in overrides if not override.lstrip("+~").startswith("dataset")]
        where: Sequence[str] = STAND_INS[trial.data]
    else:
        given = copies.overrides(trial.data, folder / f"{trial.data}_lists")
        if given is None:
            return NOT_TRIED
        where = given
    cfg = composed([*overrides, *STAND_INS.get(trial.data, ())])
    suite = ("suite=features",) if trial.data == "youtube8m" else ONE_ATTACK
    overrides = [override for override in overrides if not override.startswith(("suite", "~suite"))]
    command = [sys.executable, "-m", "advvid.train", *overrides, *where, *SHORT, *suite, *_cheaper(cfg.defense)]
    done = subprocess.run(
        [*command, f"hydra.run.dir={folder / trial.run}"], capture_output=True, text=True, check=False
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return "" if done.returncode == 0 else said[-1]


def _cheaper(defense: DictConfig) -> list[str]:
    """Return the overrides that cut the attacks of a training to one step, and trainings before it to one epoch."""
    overrides = ["defense.inner_steps=1"] if defense.get("inner_steps", 0) not in (0, 1) else []
    for name, node in (defense.get("attacks") or {}).items():
        overrides += (
            [f"defense.attacks.{name}.steps=1"] if OmegaConf.is_dict(node) and int(node.get("steps") or 0) > 1 else []
        )
    return overrides + (["defense.classifier_schedule.epochs=1"] if defense.get("classifier_schedule") else [])


def dry_run(copies: Copies, names: Sequence[str] = ()) -> Iterator[str]:
    """Yield a line for each thing tried of some papers (of all); one that failed starts with "failed"."""
    for name, classes in copies.classes().items():
        yield f"{'ok' if len(classes) == CLASSES[name] else 'failed'}: {name}: {len(classes)} classes"
    problems = list(compose_all(FULL, names))
    yield from (f"failed: {problem}" for problem in problems)
    yield f"{len(problems)} of the trainings and evaluations at full scale cannot be composed"
    settings = compare(names)
    yield from (f"failed: {setting.problem}" for setting in settings if setting.problem)
    agree = sum(setting.agrees for setting in settings)
    yield f"{len(settings)} settings held against the papers: {agree} as recorded, {len(settings) - agree} differ"
    every = trials(names)
    with tempfile.TemporaryDirectory() as scratch:
        for number, trial in enumerate(every, 1):
            try:
                problem = attempt(trial, copies, Path(scratch) / trial.paper)
            except AdvvidError as error:
                problem = str(error)
            later = {
                needed for other in every[number:] if other.paper == trial.paper for needed in other.work.needs(FULL)
            }
            if trial.run not in later:  # a network's checkpoints are large
                shutil.rmtree(Path(scratch) / trial.paper / trial.run, ignore_errors=True)
            state = "ok" if not problem else "left out" if problem == NOT_TRIED else "failed"
            yield f"{state} ({number} of {len(every)}): {trial}: {problem or 'two training steps and one clip under attack'}"


def compose_all(scale: str, names: Sequence[str] = ()) -> Iterator[str]:
    """Compose every training and evaluation of a scale and yield a sentence for each that cannot be.

    Example:
        >>> list(compose_all("full", ("aart",)))           # doctest: +SKIP
        []
    """
    chosen = [study for name, study in studies().items() if (not names or name in names) and scale in study.scales]
    for study in chosen:
        for work, overrides in study.works(scale):
            if work.program != TRAIN:
                continue
            try:
                planned(overrides)
            except AdvvidError as error:
                yield f"{study.name}, {work.name}: {error}"

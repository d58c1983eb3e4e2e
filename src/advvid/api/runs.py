"""Runs from Python: make one, read one back, attack videos with one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch import nn

from advvid.config.command_line import as_typed, several_trackers
from advvid.config.composed import composed_with_choices
from advvid.config.instantiate import safe_instantiate
from advvid.config.trust import trust_as_typed
from advvid.core import checkpoint, files
from advvid.core.checkpoint import Which
from advvid.core.errors import AdvvidError
from advvid.core.record import recorded
from advvid.data.protocol import Dataset, require_dataset
from advvid.evaluation.robustness import JSON, SAMPLES, RobustnessTable
from advvid.evaluation.table_file import read_table
from advvid.evaluation.tally import read_samples
from advvid.experiment.run import run
from advvid.experiment.saved import adopt, with_saved_choices
from advvid.models.rebuild import rebuild


@dataclass(frozen=True)
class LoadedRun:
    """A finished run.

    Args:
        folder: of the run.
        model: as it was trained, its defense included, in evaluation mode on the CPU: clips in [0, 1] to logits.
        classes: their names.
        dataset: that it was trained on; nothing of it is read before ``dataset.prepare()``.
        table: of its evaluation; None where it was only trained.
    """

    folder: Path
    model: nn.Module
    classes: Sequence[str]
    dataset: Dataset
    table: RobustnessTable | None


def load_run(folder: str | Path, which: Which = "last") -> LoadedRun:
    """Return the model, the classes and the table of a run folder; nothing in it is executed.

    Args:
        folder: of the run.
        which: ``last`` or ``best`` checkpoint.

    Raises:
        AdvvidError: if there is no run, or its parts do not fit.

    Example:
        >>> run = load_run("outputs/demo/cat")                          # doctest: +SKIP
        >>> advvid.evaluate(run.model, run.dataset, suite="quick")      # doctest: +SKIP
    """
    place = Path(folder)
    source = checkpoint.find(str(folder), which)
    state = checkpoint.load_run(source)
    dataset = require_dataset(safe_instantiate(OmegaConf.create(state["config"]["dataset"])))
    model = rebuild(state, source, dataset.clip_shape, dataset.views)
    table = None
    if (place / JSON).is_file():
        table = read_table(place / JSON)
        if (place / SAMPLES).is_file():
            table = RobustnessTable.of(table.plain(), read_samples(place / SAMPLES))
    return LoadedRun(place, model, list(state["classes"]), dataset, table)


def train(*overrides: str, run_dir: str | Path, which: Which = "last") -> LoadedRun:
    """Train a classifier against an adversary and score it, as ``python -m advvid.train <overrides>`` does.

    Args:
        overrides: as on the command line: ``"defense=cat", "attack=pgd", "schedule.epochs=20"``.
        run_dir: where everything goes; with ``"resume=true"`` a run in it goes on.
        which: ``last`` or ``best`` checkpoint of the returned run.

    Returns:
        the run, with its table.

    Raises:
        AdvvidError: for what the command line refuses.

    Example:
        >>> train("defense=at", "dataset.limit_train=20", run_dir="outputs/at").table       # doctest: +SKIP
    """
    carried_out(list(overrides), run_dir)
    return load_run(run_dir, which)


def attack_videos(
    run: str | Path | LoadedRun, videos: Sequence[str | Path] | str | Path, *overrides: str, run_dir: str | Path
) -> dict[str, Any]:
    """Attack video files with the model of a run; films and pictures are written, as by ``mode=attack``.

    Args:
        run: its folder, or what ``load_run`` gave.
        videos: files, of any length.
        overrides: as on the command line, such as ``"attack=pgd", "attack.eps=4/255"``.
        run_dir: where films, pictures and ``attack.json`` go.

    Returns:
        the content of ``attack.json``: what each clip was read as before and after.

    Raises:
        AdvvidError: for files that cannot be read and what else ``mode=attack`` refuses.

    Example:
        >>> attack_videos("outputs/demo/cat", ["dive.avi"], run_dir="outputs/dive")         # doctest: +SKIP
    """
    folder = run.folder if isinstance(run, LoadedRun) else run
    paths = [videos] if isinstance(videos, str | Path) else list(videos)
    if not paths:
        raise AdvvidError("there is no video to attack: give videos=[<file>, ...]")
    given = ["mode=attack", f"checkpoint={folder}", f"files=[{','.join(map(str, paths))}]"]
    return carried_out([*given, *overrides], run_dir)


def carried_out(overrides: Sequence[str], run_dir: str | Path) -> dict[str, Any]:
    """Carry out a run as the command line does, with its files, and return its table or result as plain values."""
    words = as_typed(with_saved_choices(several_trackers(overrides)))
    cfg, choices = composed_with_choices(words)
    trust_as_typed(cfg.get("trust"), words)
    folder = files.make_folder(Path(run_dir))
    told = {"config.yaml": OmegaConf.to_yaml(cfg), "overrides.yaml": OmegaConf.to_yaml(list(words))}
    with recorded(folder, told):
        cfg, choices = adopt(cfg, choices, words)
        return run(cfg, folder, choices)

"""From a configuration to a finished run: the only place where parts are made and put together."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn

from advvid import checkpoint
from advvid.analyses.base import Analysis, Context, carry_out
from advvid.attack_mode import attack_clips, check_options, check_parts, given_files
from advvid.attacks.base import Attack, in_space
from advvid.checks import model_checks
from advvid.data.loader import eval_batches
from advvid.defenses.base import Defense
from advvid.errors import AdvvidError
from advvid.evaluator import Column, Evaluator
from advvid.fitting import fit_columns
from advvid.instantiate import safe_instantiate
from advvid.models.build import build_model
from advvid.results import assemble, write
from advvid.runtime import Runtime
from advvid.saved import FINISHED
from advvid.schedules import Schedule
from advvid.sheets import Sheets
from advvid.suite import suite_columns, suite_types
from advvid.survival import Survival, survivals
from advvid.tracking import Tracker
from advvid.trainer import Trainer

log = logging.getLogger(__name__)

MODES = ("train", "eval", "train_eval", "attack")


@dataclass
class Parts:
    """Everything that a run is made of, built and checked before any work is done."""

    dataset: Any
    attack: Attack
    defense: Defense
    attacks: Mapping[str, Attack]
    columns: list[Column]
    survive: list[Survival]
    schedule: Schedule
    runtime: Runtime
    tracker: Tracker
    analysis: Analysis | None = None


def build(cfg: DictConfig, attack_name: str) -> Parts:
    """Make the parts of a run; nothing is read, written or computed yet.

    Raises:
        AdvvidError: for any setting that is impossible, or that does not fit another.
    """
    schedule: Schedule = safe_instantiate(cfg.schedule)
    dataset = safe_instantiate(cfg.dataset) if cfg.files is None else given_files(cfg, schedule.select)
    attack = in_space(safe_instantiate(cfg.attack), dataset.space)
    defense: Defense = safe_instantiate(cfg.defense)
    defense.task = dataset.task
    attacks = {name: in_space(found, dataset.space) for name, found in defense.attacks.items()} or {attack_name: attack}
    defense.check(attacks, schedule.epochs)
    if cfg.mode == "attack":
        check_parts(defense.task, dataset.clip_shape)
    columns = [Column(attack_name, attack)] if cfg.mode == "attack" else suite_columns(cfg.suite, attack_name, attack)
    columns = [dataclasses.replace(column, attack=in_space(column.attack, dataset.space)) for column in columns]
    survive = survivals(cfg.survive, cfg.evaluation.codec, cfg.evaluation.codec_quality)
    return Parts(
        dataset, attack, defense, attacks, columns, survive, schedule, safe_instantiate(cfg.runtime),
        safe_instantiate(cfg.tracker), safe_instantiate(cfg.analysis) if cfg.get("analysis") else None,
    )  # fmt: skip


def run(cfg: DictConfig, run_dir: Path, choices: Mapping[str, str]) -> dict[str, Any]:
    """Carry out a run and return its robustness table (empty for ``mode=train``; see ``attack_clips`` for ``mode=attack``).

    Args:
        cfg: the composed configuration.
        run_dir: where everything is written.
        choices: the chosen option of each group, by group.
    """
    if cfg.mode not in MODES:
        raise AdvvidError(f"mode={cfg.mode!r} is not known: choose one of {', '.join(MODES)}")
    finished = cfg.mode in FINISHED
    if finished and cfg.checkpoint is None:
        raise AdvvidError(f"mode={cfg.mode} needs a finished run's model: give checkpoint=<run folder or .pt file>")
    if not finished and cfg.checkpoint is not None:
        raise AdvvidError(
            "checkpoint=... is for mode=eval and mode=attack: to start training from weights use model.checkpoint, to go on "
            "with a run resume=true"
        )
    if cfg.mode != "eval" and cfg.get("analysis"):
        raise AdvvidError("analysis=... looks at a trained model: add mode=eval checkpoint=<run folder or .pt file>")
    check_options(cfg)
    parts = build(cfg, choices.get("attack", "attack"))
    with open_dict(cfg):
        cfg.name = str(cfg.name)  # its interpolation knows the choices of this command line only
    config: dict[str, Any] = dict(OmegaConf.to_container(cfg, resolve=False))  # type: ignore[arg-type]
    config["choices"] = {k: str(v) for k, v in choices.items() if v and not k.startswith("hydra")}
    source = checkpoint.find(cfg.checkpoint, parts.schedule.select) if finished else None
    state = None if source is None else checkpoint.load(source)
    parts.dataset.prepare()
    if state is not None and state["classes"] != list(parts.dataset.classes):
        raise AdvvidError(
            f"the checkpoint {source} knows {len(state['classes'])} classes ({', '.join(state['classes'][:3])}, ...) but the "
            f"data set has {len(parts.dataset.classes)} ({', '.join(parts.dataset.classes[:3])}, ...): choose the data set "
            "that it was trained on"
        )
    fabric = parts.runtime.fabric()
    fabric.seed_everything(cfg.seed, verbose=False)
    model: nn.Module = build_model(
        cfg.model, len(parts.dataset.classes), parts.dataset.clip_shape, parts.dataset.views, load_weights=state is None
    )
    model = parts.defense.wrap(model).to(fabric.device)
    parts.tracker.start(run_dir, config, str(cfg.name))
    try:
        if state is not None and source is not None:
            checkpoint.load_model(model, checkpoint.weights(state), source)
            parts.defense.load_state_dict(state["defense"])
        else:
            model = train(cfg, parts, model, fabric, run_dir, config)
        if cfg.mode == "train":
            return {}
        if cfg.mode == "attack":
            return attack_clips(cfg, parts, model, fabric.device, run_dir, config)
        if parts.analysis is not None and source is not None:
            data, name = parts.dataset, cfg.evaluation.split
            context = Context(
                choices["analysis"], model.eval(), source, parts.defense.task, data.split(name), data.split("val"), data.classes,
                data.clip_shape, data.views, parts.attack, choices.get("attack", "attack"), cfg.seed, fabric.device, run_dir,
                cfg.evaluation.batch_size, cfg.dataset.workers, config, data.missing.get(name, []),
            )  # fmt: skip
            return carry_out(parts.analysis, context, parts.tracker)
        return evaluate(cfg, parts, model, fabric.device, run_dir, config)
    finally:
        parts.tracker.finish()


def train(
    cfg: DictConfig, parts: Parts, model: nn.Module, fabric: Any, run_dir: Path, config: dict[str, Any]
) -> nn.Module:
    """Train to the end and return the model of the selected checkpoint."""
    info = {"config": config, "classes": list(parts.dataset.classes)}
    trainer = Trainer(
        fabric, model, parts.defense, parts.attacks, parts.schedule, run_dir, cfg.seed, parts.tracker, info, cfg.dataset.workers
    )  # fmt: skip
    scored = trainer.fit(parts.dataset.split("train"), parts.dataset.split("val"), resume=cfg.resume)
    if parts.schedule.select == "best":
        path = run_dir / "checkpoints" / "best.pt"
        checkpoint.load_model(scored, checkpoint.weights(checkpoint.load(path)), path)
    return scored


def evaluate(
    cfg: DictConfig, parts: Parts, model: nn.Module, device: Any, run_dir: Path, config: dict[str, Any]
) -> dict[str, Any]:
    """Score the model, write ``robustness.json``, ``robustness.md`` and pictures, and return the table."""
    split, size = parts.dataset.split(cfg.evaluation.split), cfg.evaluation.batch_size
    sheets = Sheets(run_dir, parts.dataset.classes, cfg.evaluation.pictures)
    first = next(iter(eval_batches(split, size))).to(device)
    checks = model_checks(model.to(device).eval(), first.inputs, first.target, parts.defense.task)
    learning = parts.dataset.split("val")
    columns = fit_columns(
        parts.columns, model, lambda: eval_batches(learning, size, workers=cfg.dataset.workers), len(learning),
        parts.defense.task, cfg.seed, run_dir,
    )  # fmt: skip
    evaluator = Evaluator(
        model, parts.defense.task, columns, cfg.seed, device, run_dir, sheets.add if cfg.evaluation.pictures else None,
        parts.survive,
    )  # fmt: skip
    samples = evaluator.run(
        lambda numbers: eval_batches(split, size, numbers, workers=cfg.dataset.workers), split.ids, size
    )
    missing = parts.dataset.missing.get(cfg.evaluation.split, [])
    targets = torch.as_tensor(split.targets)
    table = assemble(
        samples,
        evaluator,
        parts.defense.task,
        targets,
        missing,
        checks,
        config,
        cfg.seed,
        suite_types(cfg.suite, columns),
    )
    write(run_dir, table, parts.tracker, sheets.paths)
    return table

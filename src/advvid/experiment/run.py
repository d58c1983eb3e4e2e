"""From a configuration to a finished run: the only place where parts are made and put together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn

from advvid.analyses.base import Context, carry_out
from advvid.analyses.scored import rebuilt
from advvid.attacks.fitted import Learner
from advvid.config.options import check_top
from advvid.core import checkpoint
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.identity import Identity
from advvid.core.option_parts import ROUNDING
from advvid.core.profiling import Profile
from advvid.core.resuming import CLIPS, elsewhere, go_on, may_lengthen, of_run
from advvid.core.run_folder import at_work, make_room
from advvid.core.saved_config import stored
from advvid.data.content import Contents
from advvid.data.loader import eval_batches
from advvid.data.prefetch import prefetch
from advvid.distributed import low_precision
from advvid.distributed.micro_batches import micro_batch
from advvid.distributed.parallel import Peers
from advvid.evaluation.adaptive import behind_purifiers
from advvid.evaluation.check_rules import finding
from advvid.evaluation.checks import model_checks
from advvid.evaluation.columns import Column, with_views
from advvid.evaluation.evaluator import Evaluator
from advvid.evaluation.fitting import fit_columns
from advvid.evaluation.results import assemble, write
from advvid.evaluation.suite import suite_types
from advvid.evaluation.worth import small_validation
from advvid.experiment.attack_mode import attack_clips, check_options
from advvid.experiment.parts import Parts, build
from advvid.experiment.saved import FINISHED
from advvid.models.build import build_model
from advvid.models.rebuild import restore
from advvid.purifiers.purified import PurifiedModel
from advvid.tracking.trackers import NoTracker
from advvid.training.prerequisites import Prerequisites
from advvid.training.trainer import Trainer
from advvid.visuals.sheets import Sheets

log = logging.getLogger(__name__)


def run(cfg: DictConfig, run_dir: Path, choices: Mapping[str, str]) -> dict[str, Any]:
    """Carry out a run and return its robustness table (empty for ``mode=train``; see ``attack_clips`` for ``mode=attack``).

    Args:
        cfg: the composed configuration.
        run_dir: where everything is written.
        choices: the chosen option of each group, by group.
    """
    check_top(cfg)
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
    config = stored(cfg)
    config["choices"] = {k: str(v) for k, v in choices.items() if v and not k.startswith("hydra")}
    source = checkpoint.find(cfg.checkpoint, parts.schedule.select) if finished else None
    if cfg.resume and not finished:
        _same_training(of_run(cfg, parts.runtime.processes), parts, run_dir, config, (CLIPS, ROUNDING))
    if parts.runtime.processes > 1 and (cfg.mode == "attack" or parts.analysis is not None):
        raise AdvvidError("mode=attack and analysis=... use one process: choose runtime=auto, cpu or gpu")
    if parts.runtime.strategy == "fsdp" and not finished and parts.defense.unsharded:
        raise AdvvidError(
            f"runtime=fsdp cannot train defense={choices.get('defense')}, which {parts.defense.unsharded}: choose runtime=ddp"
        )
    result: dict[str, Any] = parts.runtime.launch(_work, cfg, run_dir, dict(choices), config, source) or {}
    return result


def _same_training(
    identity: Identity, parts: Parts, run_dir: Path, config: Mapping[str, Any], left: Sequence[str]
) -> None:
    """Refuse to go on with the training in the run folder, if there is one, where a part that is not left aside changed."""
    last = run_dir / "checkpoints" / "last.pt"
    if last.is_file():
        longer = may_lengthen(parts.schedule, parts.defense)
        go_on(checkpoint.load(last), identity, run_dir, config, longer, left)


def _work(
    fabric: Fabric, peers: Peers, cfg: DictConfig, run_dir: Path, choices: Mapping[str, str], config: dict[str, Any],
    source: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """Carry out a run in one of its processes; the first one writes and speaks, and holds the folder."""
    run_dir = Path(peers.first(str(run_dir)))
    with at_work(run_dir) if peers.main else nullcontext():
        if peers.main:
            make_room(cfg, run_dir)
        return _held(fabric, peers, cfg, run_dir, choices, config, source)


def _held(
    fabric: Fabric, peers: Peers, cfg: DictConfig, run_dir: Path, choices: Mapping[str, str], config: dict[str, Any],
    source: Path | None,
) -> dict[str, Any]:  # fmt: skip
    parts = build(cfg, choices.get("attack", "attack"))
    if not peers.main:
        parts.tracker = NoTracker()
        peers.barrier()
    parts.dataset.prepare()
    if peers.main:
        peers.barrier()
    for name in needed(cfg):
        parts.split(name)  # whatever a split lacks is said before the training, not after it
    state = None if source is None else checkpoint.load_run(source)
    if state is not None and state["classes"] != list(parts.dataset.classes):
        raise AdvvidError(
            f"the checkpoint {source} knows {len(state['classes'])} classes ({', '.join(state['classes'][:3])}, ...) but the "
            f"data set has {len(parts.dataset.classes)} ({', '.join(parts.dataset.classes[:3])}, ...): choose the data set "
            "that it was trained on"
        )
    fabric.seed_everything(cfg.seed, verbose=False)
    model: nn.Module = build_model(
        cfg.model, len(parts.dataset.classes), parts.dataset.clip_shape, parts.dataset.views, load_weights=state is None
    )
    model = parts.defense.wrap(model).to(fabric.device)
    if parts.runtime.sync_batchnorm and peers.world_size > 1:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if parts.runtime.compile:
        model.compile(dynamic=True)  # batches shrink as clips are fooled
    parts.tracker.start(run_dir, config, str(cfg.name))
    try:
        if state is not None and source is not None:
            checkpoint.load_model(model, checkpoint.weights(state), source)
            restore(parts.defense, state, source)
            resumed_with = elsewhere(state)
        else:
            model, resumed_with = train(cfg, parts, model, fabric, run_dir, config, peers)
        if cfg.mode == "train":
            return {}
        if cfg.mode == "attack":
            return attack_clips(cfg, parts, purified(cfg, parts, model), fabric.device, run_dir, config)
        if parts.analysis is not None and source is not None:
            data, name = parts.dataset, cfg.evaluation.split
            context = Context(
                choices["analysis"], purified(cfg, parts, model).eval(), source, parts.defense.task, parts.split(name),
                parts.split("val"), data.classes, data.clip_shape, data.views, parts.attack,
                choices.get("attack", "attack"), cfg.seed, fabric.device, run_dir,
                cfg.evaluation.batch_size, parts.workers, config, data.missing.get(name, []),
            )  # fmt: skip
            return carry_out(parts.analysis, context, parts.tracker)
        return evaluate(cfg, parts, model, fabric, run_dir, config, peers, resumed_with)
    finally:
        parts.tracker.finish()


def needed(cfg: DictConfig) -> list[str]:
    """Return the splits that a run is sure to read."""
    trained = ["train", "val"] if cfg.mode in ("train", "train_eval") else []
    return trained + ([cfg.evaluation.split] if cfg.mode in ("train_eval", "eval") else [])


def train(
    cfg: DictConfig, parts: Parts, model: nn.Module, fabric: Fabric, run_dir: Path, config: dict[str, Any], peers: Peers
) -> tuple[nn.Module, list[str]]:
    """Train to the end; return the model of the selected checkpoint, and how the machine changed on the way."""
    info = {"config": config, "classes": list(parts.dataset.classes)}
    train_set, val_set = parts.split("train"), parts.split("val")
    if not peers.main:
        peers.barrier()  # the first process remembers the content of the files for the others
    clips = {name: Contents.of(split).digest for name, split in (("training", train_set), ("validation", val_set))}
    if peers.main:
        peers.barrier()
    identity = of_run(cfg, peers.world_size).with_part(CLIPS, clips)
    if cfg.resume:
        _same_training(identity, parts, run_dir, config, (ROUNDING,))
    prerequisites = Prerequisites(
        fabric=fabric, run_dir=run_dir, train_set=train_set, val_set=val_set, attacks=parts.attacks, seed=cfg.seed, info=info,
        workers=parts.workers, peers=peers, resume=cfg.resume, identity=identity,
    )  # fmt: skip
    if parts.runtime.precision == "bf16" and fabric.device.type == "cpu":
        low_precision.check_training(model, next(iter(eval_batches(val_set, 1))).to(fabric.device).inputs)
    parts.defense.make_ready(model, prerequisites)
    trainer = Trainer(
        fabric, model, parts.defense, parts.attacks, parts.schedule, run_dir, cfg.seed, parts.tracker, info,
        parts.workers, peers, parts.runtime.profile, identity,
    )  # fmt: skip
    scored = trainer.fit(train_set, val_set, resume=cfg.resume)
    peers.barrier()  # the first process may still be writing
    if parts.schedule.select == "best":
        path = run_dir / "checkpoints" / "best.pt"
        checkpoint.load_model(scored, checkpoint.weights(checkpoint.load(path)), path)
    parts.tracker.artifact("checkpoints", sorted((run_dir / "checkpoints").glob("*.pt")))
    return scored, trainer.resumed_with


def evaluate(
    cfg: DictConfig, parts: Parts, model: nn.Module, fabric: Fabric, run_dir: Path, config: dict[str, Any], peers: Peers,
    resumed_with: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Score the model, write ``robustness.json``, ``robustness.md`` and pictures, and return the table."""
    split, size, device = parts.split(cfg.evaluation.split), cfg.evaluation.batch_size, fabric.device
    sheets = Sheets(run_dir, parts.dataset.classes, cfg.evaluation.pictures, parts.defense.task)
    first = next(iter(eval_batches(split, size))).to(device)
    system = purified(cfg, parts, model.to(device))
    micro = micro_batch(system, first.inputs[:1], size, cfg.evaluation.micro_batch, "the attack", peers.world_size)
    checks = model_checks(system.eval(), first.inputs, first.target, parts.defense.task, first.ids)
    if resumed_with:
        said = f"training was resumed elsewhere than it was begun: {'; '.join(resumed_with)}"
        checks.append(finding("resumed_elsewhere", True, said))
    evaluator = Evaluator(
        system, parts.defense.task, learned(cfg, parts, model, system, run_dir, peers), cfg.seed, device, run_dir,
        sheets.add if cfg.evaluation.pictures else None, parts.survive, peers, micro, fabric.autocast,
        Identity.of(cfg).around_cells.plain(),
    )  # fmt: skip
    profile = Profile(run_dir / "profile", "evaluation", parts.runtime.profile and peers.main, skip=0, record=1)

    def batches(numbers: Sequence[int]) -> Iterator[Batch]:
        return profile.over(prefetch(eval_batches(split, size, numbers, workers=parts.workers), device))

    samples = evaluator.run(batches, Contents.of(split), size)
    if not peers.main:
        return {}
    chosen = chosen_by_validation(cfg, parts)
    checks += small_validation(chosen, len(parts.split("val"))) if chosen else []
    table = assemble(
        samples, evaluator, parts.defense.task, torch.as_tensor(split.targets),
        parts.dataset.missing.get(cfg.evaluation.split, []), checks, config, cfg.seed,
        suite_types(cfg.suite, evaluator.columns),
    )  # fmt: skip
    write(run_dir, table, parts.tracker, sheets.paths)
    return table


def chosen_by_validation(cfg: DictConfig, parts: Parts) -> list[str]:
    """Return what a run chose by its validation split, in words."""
    defense = cfg.defense.get("probabilities_on") == "validation"
    found = {
        "the checkpoint": cfg.schedule.select == "best" and cfg.schedule.epochs > 1,
        "the defense's probabilities": defense,
        "what an attack learned": any(isinstance(column.attack, Learner) for column in parts.columns),
    }
    return [words for words, chosen in found.items() if chosen]


def purified(cfg: DictConfig, parts: Parts, model: nn.Module) -> nn.Module:
    """Return the model behind the detector and the purifiers of the run; the model itself where there are none."""
    front, data = list(parts.purifiers), parts.dataset
    if parts.routing is not None:
        network, source = None, parts.routing.source
        if source is not None:
            config: dict[str, Any] = dict(OmegaConf.to_container(cfg, resolve=False))  # type: ignore[arg-type]
            network, _ = rebuilt(source, data.classes, data.clip_shape, data.views, config)
        front.insert(0, parts.routing.route(model, network))
    if not front:
        return model
    device = next(model.parameters()).device
    return PurifiedModel(front, model, cfg.seed, data.clip_shape[1]).to(device)


def learned(
    cfg: DictConfig, parts: Parts, model: nn.Module, system: nn.Module, run_dir: Path, peers: Peers
) -> list[Column]:
    """Return the columns, those that learn fitted on the validation split: by the first process, read by the others."""
    split, size = parts.split("val"), cfg.evaluation.batch_size
    if not peers.main:
        peers.barrier()
    every = cfg.evaluation.accesses == "all"
    columns = with_views(parts.columns, parts.defense.views(model) if every else {})
    if isinstance(system, PurifiedModel):
        columns = behind_purifiers(columns, system, cfg.evaluation.eot_samples, every)
    columns = fit_columns(
        columns, system, lambda: eval_batches(split, size, workers=parts.workers), lambda: Contents.of(split),
        parts.defense.task, cfg.seed, run_dir,
    )  # fmt: skip
    if peers.main:
        peers.barrier()
    return columns

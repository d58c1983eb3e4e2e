"""A run: its parts, and what is done with them: training, table, attack, analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from advvid.analyses.base import Context, carry_out
from advvid.analyses.scored import rebuilt
from advvid.attacks.fitted import Learner
from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.core.identity import Identity
from advvid.core.option_parts import ROUNDING
from advvid.core.resuming import CLIPS, elsewhere, go_on, may_lengthen, of_run
from advvid.data.coming import Coming
from advvid.data.content import Contents
from advvid.data.loader import eval_batches
from advvid.data.video_files import VideoFiles
from advvid.distributed import low_precision
from advvid.distributed.compiled import compile_model
from advvid.distributed.lightning import Fabric
from advvid.distributed.parallel import Processes
from advvid.evaluation.adaptive import behind_purifiers
from advvid.evaluation.check_rules import finding
from advvid.evaluation.columns import Column, with_views
from advvid.evaluation.results import write
from advvid.evaluation.robustness import RobustnessTable
from advvid.evaluation.suite import suite_types
from advvid.evaluation.worth import small_validation
from advvid.experiment.attack_mode import attack_clips
from advvid.experiment.parts import Parts
from advvid.experiment.scoring import Scoring
from advvid.models.build import build_model
from advvid.models.rebuild import restore
from advvid.purifiers.in_training import TrainingFront
from advvid.purifiers.purified import PurifiedModel
from advvid.tracking.trackers import NoTracker
from advvid.training.prerequisites import Prerequisites
from advvid.training.trainer import Trainer
from advvid.training.untrained import keep_untrained


@dataclass(kw_only=True)
class Run:
    """A run as it was asked for; what it is made of is added where it is carried out.

    Args:
        cfg: the composed configuration.
        run_dir: where everything is written.
        choices: the chosen option of each group, by group.
        config: the configuration as plain values, to be written down.
        source: the checkpoint that is scored or attacked; None where a model is trained.
    """

    cfg: DictConfig
    run_dir: Path
    choices: Mapping[str, str]
    config: dict[str, Any]
    source: Path | None
    parts: Parts = field(init=False)
    fabric: Fabric = field(init=False)
    processes: Processes = field(init=False)

    def carry_out(self) -> dict[str, Any]:
        """Train, score, attack or analyse; return the table or result as plain values."""
        cfg, parts, processes = self.cfg, self.parts, self.processes
        if not processes.main:
            parts.tracker = NoTracker()
            processes.barrier()
        if isinstance(parts.dataset, VideoFiles) and self.source is None:
            parts.dataset.coming = Coming(cfg.seed, parts.schedule.epochs)
        parts.dataset.prepare()
        if processes.main:
            processes.barrier()
        for name in needed(cfg):
            parts.split(name)  # whatever a split lacks is said before the training, not after it
        state = None if self.source is None else checkpoint.load_run(self.source)
        if state is not None and state["classes"] != list(parts.dataset.classes):
            raise AdvvidError(
                f"the checkpoint {self.source} knows {len(state['classes'])} classes ({', '.join(state['classes'][:3])}, ...) "
                f"but the data set has {len(parts.dataset.classes)} ({', '.join(parts.dataset.classes[:3])}, ...): choose the "
                "data set that it was trained on"
            )
        self.fabric.seed_everything(cfg.seed, verbose=False)
        model = self.made(load_weights=state is None)
        parts.tracker.start(self.run_dir, self.config, str(cfg.name))
        try:
            if state is not None and self.source is not None:
                checkpoint.load_model(model, checkpoint.weights(state), self.source)
                restore(parts.defense, state, self.source)
                resumed_with = elsewhere(state)
            else:
                model, resumed_with = self.train(model)
            if cfg.mode == "train":
                return {}
            if cfg.mode == "attack":
                system = self.system(model)
                return attack_clips(cfg, parts, system, self.fabric.device, self.run_dir, self.config)
            if parts.analysis is not None and self.source is not None:
                return carry_out(parts.analysis, self.context(model, self.source), parts.tracker)
            table = self.evaluate(model, resumed_with)
            return {} if table is None else table.plain()
        finally:
            parts.tracker.finish()

    def made(self, load_weights: bool) -> nn.Module:
        """Return the network, wrapped by the defense, on the device."""
        parts, data = self.parts, self.parts.dataset
        model: nn.Module = build_model(
            self.cfg.model, len(data.classes), data.clip_shape, data.views, load_weights=load_weights
        )
        model = parts.defense.wrap(model).to(self.fabric.device)
        if parts.runtime.sync_batchnorm and self.processes.world_size > 1:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        if parts.runtime.compile:
            compile_model(model, parts.runtime.compile, (parts.schedule.batch_size, *data.clip_shape))
        return model

    def context(self, model: nn.Module, source: Path) -> Context:
        """Return what an analysis looks at."""
        cfg, parts, data = self.cfg, self.parts, self.parts.dataset
        return Context(
            name=self.choices["analysis"],
            model=self.system(model).eval(),
            source=source,
            task=parts.defense.task,
            split=parts.split(cfg.evaluation.split),
            learning=parts.split("val"),
            classes=data.classes,
            clip_shape=data.clip_shape,
            views=data.views,
            attack=parts.attack,
            attack_name=parts.attack_name,
            seed=cfg.seed,
            device=self.fabric.device,
            run_dir=self.run_dir,
            batch_size=cfg.evaluation.batch_size,
            workers=parts.workers,
            config=self.config,
            missing=data.missing.get(cfg.evaluation.split, []),
        )

    def train(self, model: nn.Module) -> tuple[nn.Module, list[str]]:
        """Train to the end; return the model of the selected checkpoint, and how the machine changed on the way."""
        cfg, parts, processes = self.cfg, self.parts, self.processes
        info = {"config": self.config, "classes": list(parts.dataset.classes)}
        if not parts.schedule.epochs:
            if processes.main:
                identity, select = of_run(cfg, processes.world_size), parts.schedule.select
                keep_untrained(self.run_dir, model, parts.defense, info, identity, select)
            processes.barrier()
            return model, []
        train_set, val_set = parts.training_split(self.fabric.device), parts.split("val")
        if not processes.main:
            processes.barrier()  # the first process remembers the content of the files for the others
        clips = {name: Contents.of(s).digest for name, s in (("training", train_set), ("validation", val_set))}
        if processes.main:
            processes.barrier()
        identity = of_run(cfg, processes.world_size).with_part(CLIPS, clips)
        if cfg.resume:
            same_training(identity, parts, self.run_dir, self.config, (ROUNDING,))
        if parts.runtime.precision == "bf16" and self.fabric.device.type == "cpu":
            clip = next(iter(eval_batches(val_set, 1))).to(self.fabric.device).inputs
            low_precision.check_training(model, clip)
        prerequisites = Prerequisites(
            fabric=self.fabric,
            run_dir=self.run_dir,
            train_set=train_set,
            val_set=val_set,
            attacks=parts.attacks,
            seed=cfg.seed,
            info=info,
            workers=parts.workers,
            processes=processes,
            resume=cfg.resume,
            identity=identity,
        )
        if cfg.purify_training:
            TrainingFront(parts.purifiers, cfg.seed, parts.dataset.clip_shape[1]).put_before(model)
        parts.defense.make_ready(model, prerequisites)
        trainer = Trainer(
            fabric=self.fabric,
            model=model,
            defense=parts.defense,
            attacks=parts.attacks,
            schedule=parts.schedule,
            run_dir=self.run_dir,
            seed=cfg.seed,
            tracker=parts.tracker,
            info=info,
            workers=parts.workers,
            processes=processes,
            profiled=parts.runtime.profile,
            identity=identity,
        )
        scored = trainer.fit(train_set, val_set, resume=cfg.resume)
        TrainingFront.take_away(scored)  # ``system`` puts the same purifiers before it, as it does for a checkpoint
        processes.barrier()  # the first process may still be writing
        if parts.schedule.select == "best":
            path = self.run_dir / "checkpoints" / "best.pt"
            checkpoint.load_model(scored, checkpoint.weights(checkpoint.load(path)), path)
        parts.tracker.artifact("checkpoints", sorted((self.run_dir / "checkpoints").glob("*.pt")))
        return scored, trainer.resumed_with

    def evaluate(self, model: nn.Module, resumed_with: Sequence[str] = ()) -> RobustnessTable | None:
        """Score the model, write ``robustness.json``, ``robustness.md`` and pictures; return the table (first process)."""
        cfg, parts, data = self.cfg, self.parts, self.parts.dataset
        checks = [finding(name, True, said) for name, said in getattr(data, "findings", {}).items()]
        if resumed_with:
            told = f"training was resumed elsewhere than it was begun: {'; '.join(resumed_with)}"
            checks.append(finding("resumed_elsewhere", True, told))
        chosen = chosen_by_validation(cfg, parts)
        if chosen and self.processes.main:
            checks += small_validation(chosen, len(parts.split("val")))
        system = self.system(model.to(self.fabric.device))
        columns = self.columns(model, system)
        scoring = Scoring(
            task=parts.defense.task,
            columns=columns,
            split=parts.split(cfg.evaluation.split),
            learning=lambda: parts.split("val"),
            classes=data.classes,
            seed=cfg.seed,
            device=self.fabric.device,
            run_dir=self.run_dir,
            batch_size=cfg.evaluation.batch_size,
            workers=parts.workers,
            micro=cfg.evaluation.micro_batch,
            pictures=cfg.evaluation.pictures,
            films=getattr(parts.tracker, "videos", False),
            postprocess=parts.postprocess,
            types=suite_types(cfg.suite, [column.name for column in columns]),
            config=self.config,
            identity=Identity.of(cfg),
            missing=data.missing.get(cfg.evaluation.split, []),
            processes=self.processes,
            search=self.fabric.autocast,
            profile=parts.runtime.profile,
        )
        table = scoring.table(system, checks)
        if table is not None:
            write(self.run_dir, table, parts.tracker, scoring.sheets.paths, scoring.sheets.films or {})
        return table

    def columns(self, model: nn.Module, system: nn.Module) -> list[Column]:
        """Return the columns of the table with those of other accesses: of the defense's, and of the purifiers'."""
        every = self.cfg.evaluation.accesses == "all"
        columns = with_views(self.parts.columns, self.parts.defense.views(model) if every else {})
        if isinstance(system, PurifiedModel):
            columns = behind_purifiers(columns, system, self.cfg.evaluation.eot_samples, every)
        return columns

    def system(self, model: nn.Module) -> nn.Module:
        """Return the model behind the detector and the purifiers of the run; the model itself where there are none."""
        parts, data = self.parts, self.parts.dataset
        front = list(parts.purifiers)
        if parts.routing is not None:
            network, source = None, parts.routing.source
            if source is not None:
                config: dict[str, Any] = dict(OmegaConf.to_container(self.cfg, resolve=False))  # type: ignore[arg-type]
                network, _ = rebuilt(source, data.classes, data.clip_shape, data.views, config)
            front.insert(0, parts.routing.route(model, network))
        if not front:
            return model
        device = next(model.parameters()).device
        return PurifiedModel(front, model, self.cfg.seed, data.clip_shape[1]).to(device)


def needed(cfg: DictConfig) -> list[str]:
    """Return the splits that a run is sure to read."""
    trained = ["train", "val"] if cfg.mode in ("train", "train_eval") and cfg.schedule.epochs else []
    return trained + ([cfg.evaluation.split] if cfg.mode in ("train_eval", "eval") else [])


def chosen_by_validation(cfg: DictConfig, parts: Parts) -> list[str]:
    """Return what a run chose by its validation split, in words."""
    defense = cfg.defense.get("probabilities_on") == "validation"
    found = {
        "the checkpoint": cfg.schedule.select == "best" and cfg.schedule.epochs > 1,
        "the defense's probabilities": defense,
        "what an attack learned": any(isinstance(column.attack, Learner) for column in parts.columns),
    }
    return [words for words, chosen in found.items() if chosen]


def same_training(
    identity: Identity, parts: Parts, run_dir: Path, config: Mapping[str, Any], left: Sequence[str]
) -> None:
    """Refuse to go on with the training in the run folder, if there is one, where a part that is not left aside changed."""
    last = run_dir / "checkpoints" / "last.pt"
    if last.is_file():
        longer = may_lengthen(parts.schedule, parts.defense)
        go_on(checkpoint.load(last), identity, run_dir, config, longer, left)

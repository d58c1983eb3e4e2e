"""The parts of a run: made from the configuration and checked before any work is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from omegaconf import DictConfig

from advvid.analyses.base import Analysis
from advvid.attacks.base import Attack, in_space
from advvid.config.instantiate import find_target, safe_instantiate
from advvid.core.errors import AdvvidError
from advvid.core.schedules import Schedule
from advvid.data.checked import check_split
from advvid.data.device_transforms import varied_on
from advvid.data.loader import Clips
from advvid.data.protocol import Dataset, require_dataset
from advvid.defenses.base import Defense
from advvid.detectors.routing import Routing
from advvid.distributed.compiled import check_graphs
from advvid.distributed.runtime import Runtime
from advvid.evaluation.columns import Column
from advvid.evaluation.postprocess import Postprocessing, postprocessing
from advvid.evaluation.suite import suite_columns
from advvid.experiment.attack_mode import check_parts, given_files
from advvid.models.build import check_settings, check_task
from advvid.purifiers.base import Purifier
from advvid.tracking.trackers import Tracker
from advvid.training.untrained import check_epochs


@dataclass(kw_only=True)
class Parts:
    """Everything that a run is made of, built and checked before any work is done."""

    dataset: Dataset
    attack: Attack
    attack_name: str
    defense: Defense
    attacks: Mapping[str, Attack]
    columns: list[Column]
    postprocess: list[Postprocessing]
    schedule: Schedule
    runtime: Runtime
    tracker: Tracker
    analysis: Analysis | None = None
    purifiers: list[Purifier] = field(default_factory=list)
    routing: Routing | None = None
    workers: int | str = 0  # loader processes; a data set need not have the option
    _splits: dict[str, Clips] = field(default_factory=dict, repr=False)

    def split(self, name: str) -> Clips:
        """Return a split of the data set, made once and held to what it owes.

        Raises:
            AdvvidError: naming the split and what is wrong with it.
        """
        if name not in self._splits:
            found = self.dataset.split(name)
            check_split(found, name, self.dataset.classes, self.dataset.task)
            self._splits[name] = found
        return self._splits[name]

    def training_split(self, device: torch.device) -> Clips:
        """Return the training split, whose clips the device finishes where ``runtime.device_transforms`` says so."""
        found = self.split("train")
        return varied_on(found, device) if self.runtime.device_transforms else found


def build(cfg: DictConfig, attack_name: str) -> Parts:
    """Make the parts of a run; nothing is read, written or computed yet.

    Raises:
        AdvvidError: for any setting that is impossible, or that does not fit another.
    """
    schedule: Schedule = safe_instantiate(cfg.schedule)
    dataset = require_dataset(safe_instantiate(cfg.dataset) if cfg.files is None else given_files(cfg, schedule.select))
    check_task(cfg.model, dataset.task)
    check_settings(cfg.model, dataset.clip_shape, dataset.views)
    looked = find_target(cfg.analysis.get("_target_"), "analysis") if cfg.get("analysis") else None
    if getattr(looked, "judges", looked is not None) and dataset.task.output != "logits":
        raise AdvvidError(
            "analysis=... looks at right and wrong answers, which the prediction of frames does not have: leave it out for "
            "the table of errors"
        )
    attack = in_space(safe_instantiate(cfg.attack), dataset.space)
    defense: Defense = safe_instantiate(cfg.defense)
    defense.task = dataset.task
    attacks = {name: in_space(found, dataset.space) for name, found in defense.attacks.items()} or {attack_name: attack}
    if cfg.mode in ("train", "train_eval"):
        check_epochs(schedule, defense)
        defense.check(attacks, schedule.epochs)
        defense.require_shape(dataset.clip_shape)
    if cfg.mode == "attack":
        check_parts(defense.task, dataset.clip_shape)
    columns = [Column(attack_name, attack)] if cfg.mode == "attack" else suite_columns(cfg.suite, attack_name, attack)
    columns = [dataclasses.replace(column, attack=in_space(column.attack, dataset.space)) for column in columns]
    for used in (*attacks.values(), *(column.attack for column in columns)):
        used.require_shape(dataset.clip_shape)
    if cfg.postprocess and len(dataset.clip_shape) != 4:
        raise AdvvidError("postprocess=... rounds and encodes pixels, and these data have none: leave postprocess=null")
    runtime: Runtime = safe_instantiate(cfg.runtime)
    check_graphs(runtime.compile, runtime.on_gpu, cfg.mode, schedule)
    purifiers, routing = made_purifiers(cfg, dataset.clip_shape), made_routing(cfg, dataset.clip_shape)
    if cfg.mode in ("train", "train_eval"):
        check_purified_training(cfg, purifiers, defense)
    return Parts(
        dataset=dataset,
        attack=attack,
        attack_name=attack_name,
        defense=defense,
        attacks=attacks,
        columns=columns,
        postprocess=postprocessing(cfg.postprocess, cfg.evaluation.codec, cfg.evaluation.codec_quality),
        schedule=schedule,
        runtime=runtime,
        tracker=safe_instantiate(cfg.tracker),
        analysis=safe_instantiate(cfg.analysis) if cfg.get("analysis") else None,
        purifiers=purifiers,
        routing=routing,
        workers=cfg.dataset.get("workers", 0),
    )


def made_purifiers(cfg: DictConfig, clip_shape: Sequence[int]) -> list[Purifier]:
    """Return the purifiers in front of the model, in the order of the command line.

    Raises:
        AdvvidError: where nothing could pass them.
    """
    found = list((safe_instantiate(cfg.get("purifier")) or {}).values())
    if not found:
        return []
    odd = next((p for p in found if not isinstance(p, Purifier)), None)
    if odd is not None:
        raise AdvvidError(f"purifier holds a {type(odd).__name__}: choose options of the group, as in purifier=[jpeg]")
    _check_front("purifier", found, cfg, clip_shape)
    return found


def check_purified_training(cfg: DictConfig, purifiers: Sequence[Purifier], defense: Defense) -> None:
    """Refuse a training behind purifiers where there are none, or that would not go through them.

    Raises:
        AdvvidError: naming the option.
    """
    if not cfg.get("purify_training"):
        return
    if not purifiers:
        raise AdvvidError(
            "purify_training=true trains behind the purifiers of the run, and there are none: add purifier=[...], such as "
            "purifier=[halftone]"
        )
    if defense.unpurified:
        raise AdvvidError(
            f"purify_training=true cannot train with {type(defense).__name__}, which {defense.unpurified}: choose another "
            "defense such as at, or purify_training=false"
        )


def made_routing(cfg: DictConfig, clip_shape: Sequence[int]) -> Routing | None:
    """Return the detector in front of the model, with the purifiers that it chooses from.

    Raises:
        AdvvidError: where nothing could pass it.
    """
    found = safe_instantiate(cfg.detector) if cfg.get("detector") else None
    if found is None:
        return None
    if not isinstance(found, Routing):
        raise AdvvidError(
            f"detector holds a {type(found).__name__}: choose detector=temporal_consistency or temporal_shuffling"
        )
    _check_front("detector", [found.sparse, found.dense], cfg, clip_shape)
    return found


def _check_front(what: str, found: Sequence[Purifier], cfg: DictConfig, clip_shape: Sequence[int]) -> None:
    """Refuse what cannot stand in front of the model of this run."""
    if len(clip_shape) != 4:
        raise AdvvidError(f"{what}=... changes pixels, and these data have none: leave it out")
    if cfg.mode == "train" and not (what == "purifier" and cfg.get("purify_training")):
        also = ", or purify_training=true to train behind it" if what == "purifier" else ""
        raise AdvvidError(
            f"{what}=... stands before the finished model, not in training: choose mode=train_eval or mode=eval{also}"
        )
    if any(p.random for p in found) and (cfg.mode == "attack" or cfg.get("analysis")):
        raise AdvvidError(
            "a random purifier would be judged by its luckiest draw here: use mode=eval without analysis, or leave it out"
        )

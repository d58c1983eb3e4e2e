"""What the demo of each table costs, before it was run: ``python -m advvid.studies.minutes``.

Passes of a clip forward and backward are counted from the settings and multiplied by the seconds of a pass, measured
for each network on one core; starting a process counts besides. Attacks that stop early cost less than counted here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import DictConfig, OmegaConf

from advvid.analyses.tries import LOOKS
from advvid.models.build import build_model
from advvid.studies.catalogue import papers, studies
from advvid.studies.composing import planned
from advvid.studies.estimate import (
    attack_steps,
    crafting_passes,
    frame_choices,
    inner_steps,
    kind_of,
    stem,
    update_passes,
)
from advvid.studies.plan import DEMO, TRAIN, Study
from advvid.studies.published import read_yaml

FILE = Path(__file__).resolve().parent / "demo_minutes.yaml"
START = 8.0  # seconds of a process: imports, data, the first batch
CORES = 2
SPLITS = ("train", "val", "test")
# Clips of the splits, those of training in full batches, by the class of the data; Filmed is ut_interaction.
CLIPS = {
    "Motion": (384, 100, 200),
    "Digits": (1216, 179, 359),
    "YouTube8MMini": (576, 100, 300),
    "MovingDigits": (800, 100, 100),
    "BedFall": (100, 20, 50),
    "Filmed": (70, 13, 36),
}
FEATURES = (30, 1152)
# Seconds of a pass of these beside one of the bare network: branches, a generator in front, blocks in between.
HEAVIER = {"MultiBN": 2.0, "MultiBNManual": 2.0, "APEGAN": 1.6, "GAT": 2.2, "OUDefend": 1.7, "FeatureDenoising": 1.5}
# Passes that a corrupted clip takes, made and scored, and those of a way forward without one back.
CORRUPTED, ONLY_FORWARD = 2.5, 1 / 3
ACCESSES = ("APEGAN", "GAT")  # whose columns are attacked once more by those who know less
Place = tuple[str, str, str]  # study, training, evaluation or ""


def network(overrides: list[str], cfg: DictConfig) -> str:
    """Return what names a network at its width and clip."""
    shape = "x".join(str(cfg.dataset[key]) for key in ("frames", "size", "size") if cfg.dataset.get(key))
    return f"{stem(overrides, cfg)} {cfg.model.get('width', 1.0)} {shape}".strip()


def seconds_of_a_pass(cfg: DictConfig, batch: int = 25, repeats: int = 3) -> float:
    """Time a clip's way forward and back, through the network alone."""
    data = cfg.dataset
    shape = (3, int(data.get("frames") or 1), int(data["size"]), int(data["size"])) if data.get("size") else FEATURES
    model = build_model(cfg.model, 10, shape, load_weights=False).eval()
    clips = torch.rand(batch, *shape, requires_grad=True)
    spent = []
    for _ in range(repeats + 1):
        began = time.process_time()
        model(clips).sum().backward()
        spent.append(time.process_time() - began)
    return min(spent[1:]) / batch


def clips_of(cfg: DictConfig, split: str) -> int:
    """Return how many clips of a split a run uses."""
    return int(cfg.dataset.get(f"limit_{split}") or CLIPS[kind_of(cfg.dataset)][SPLITS.index(split)])


def training_passes(cfg: DictConfig) -> float:
    """Return the passes of a training, validation included."""
    kind, inner = kind_of(cfg.defense), inner_steps(cfg)
    each = update_passes(cfg)
    clips = clips_of(cfg, "train")
    extra = crafting_passes(cfg.defense, clips)
    epochs = int(cfg.schedule.epochs)
    heavy, looked = HEAVIER.get(kind, 1.0), -(-epochs // int(cfg.schedule.get("validate_every") or 1))
    validated = looked * clips_of(cfg, "val") * (1 + inner)
    return heavy * (epochs * clips * each + validated) + extra


def scoring_passes(cfg: DictConfig) -> float:
    """Return the passes of an evaluation, as many as if no attack stopped early."""
    clips = clips_of(cfg, "test")
    if cfg.get("analysis"):
        return clips * _analysis(cfg)
    steps = sum(
        attack_steps(node, cfg) for node in cfg.suite.values() if OmegaConf.is_dict(node) and "_target_" in node
    )
    kind = kind_of(cfg.defense)
    accesses = 2 if kind in ACCESSES or cfg.get("purifier") else 1
    return clips * HEAVIER.get(kind, 1.0) * (1 + accesses * steps)


def _analysis(cfg: DictConfig) -> float:
    node, attack = cfg.analysis, cfg.attack
    name = kind_of(node)
    models = 1 + len(node.get("checkpoints") or [])
    others = sum(attack_steps(a, cfg) for a in (node.get("attacks") or {}).values())
    if name == "Strength":
        field = str(node.field)
        sizes = [float(value) for value in node["values"]] if field == "steps" else []
        return float(models * (sum(sizes) if sizes else attack_steps(attack, cfg) * len(node["values"])))
    found: dict[str, float] = {
        "LossSurface": len(node.get("sizes") or []) * max(node.get("steps"), default=0) if name == "LossSurface" else 0,
        "BestStep": len(node.get("budgets") or []) * len(node.get("sizes") or []) * int(node.get("steps") or 0)
        if name == "BestStep"
        else 0,
        "TransferMatrix": (models + 1) * attack_steps(attack, cfg),
        "BranchMatrix": 4 * 2.0 * others,
        "SelectorAttack": len(node.get("values") or []) * 2.5 * others,
        "Detection": 2 * (100.0 + 20) + 20 * len(node.get("weights") or []),
        "RoutingTable": 100.0 + 100.0,
        "FrameSearch": frame_choices(node, cfg),
        "LossByStep": frame_choices(node, cfg),
        "DefendedClips": 100.0 * 0.3,  # until some clips are fooled
        "Rho": models * 50.0,
        "AttentionMaps": 5.0,
        "GeneralisationGap": 0.0,
        "Saliency": models * 2.0,
        "Smoothing": _smoothing(node) if name == "Smoothing" else 0,
        "Ablation": _ablation(node, int(cfg.dataset.frames)) if name == "Ablation" else 0,
        "Corruptions": models * CORRUPTED * len(node.get("kinds") or []) * len(node.get("severities") or []),
        "FeatureDifference": models * (attack_steps(attack, cfg) + 1.0),
    }
    return found[name]


def _smoothing(node: DictConfig) -> float:
    """Return the passes for a clip: certificates, attacks at all radii, tries."""
    looked = ONLY_FORWARD * (int(node.n0) + int(node.n))
    attacked = len(node.radii) * (int(node.attack.steps) * int(node.draws) + ONLY_FORWARD * int(node.n0))
    return len(node.sigmas) * (looked + attacked + int(node.tries) * (ONLY_FORWARD * LOOKS + int(node.draws) / 2))


def _ablation(node: DictConfig, blocks: int) -> float:
    """Return the passes for a clip, of which every question is one to each block."""
    attacked = len(node.changed) * int(node.attack.steps)
    return blocks * (ONLY_FORWARD + attacked + int(node.tries) * (ONLY_FORWARD + 0.5))


def cost(study: Study, run: str, score: str, known: dict[str, float]) -> float:
    """Return the seconds of a training, or of an evaluation of it; networks not timed yet are timed, other programs not."""
    if study.runs[run].program != TRAIN:
        return START
    overrides = study.overrides(run, score, DEMO)
    cfg = planned(overrides)
    name = network(overrides, cfg)
    if name not in known:
        known[name] = round(seconds_of_a_pass(cfg), 6)
    return START + known[name] * (scoring_passes(cfg) if score else training_passes(cfg))


def count(names: Collection[str] = (), timed: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Return the minutes of each target on one core, what all of the papers take on two, and the seconds of a pass behind them.

    What several tables share counts in each of them, and once in the whole.

    Args:
        names: of the studies whose targets are counted; empty: all.
        timed: seconds of a pass by network, for those that need not be timed again.
    """
    known: dict[str, float] = dict(timed or {})
    seconds: dict[Place, float] = {}
    minutes: dict[str, float] = {}
    for study in [study for name, study in studies().items() if not names or name in names]:
        for target in study.targets.values():
            wanted: dict[Place, None] = {}
            for run, score in target.wanted(DEMO):
                for name in [*study.needs(run, score, DEMO), run]:
                    wanted[study.name, name, ""] = None
                wanted[study.name, run, score] = None
            for place in wanted:
                if place not in seconds:
                    seconds[place] = cost(study, place[1], place[2], known)
            minutes[target.id] = round(sum(seconds[place] for place in wanted) / 60, 1)
    whole = round(sum(cost for (name, _, _), cost in seconds.items() if name in papers()) / 60 / CORES, 1)
    return {"all": whole, "minutes": minutes, "seconds_of_a_pass": known}


def known() -> dict[str, Any]:
    """Return what ``main`` wrote."""
    found: dict[str, Any] = read_yaml(FILE)
    return found


def main() -> int:
    """Count everything and write the file that ``list`` reads; networks that it has no time of are timed."""
    torch.set_num_threads(1)
    timed = known()["seconds_of_a_pass"] if FILE.is_file() else None
    head = "# Minutes of the demo on one core (all: of the whole on two), counted by python -m advvid.studies.minutes\n"
    FILE.write_text(head + yaml.safe_dump(count(timed=timed), sort_keys=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())

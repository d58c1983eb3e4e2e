"""What a table costs at the paper's scale, counted from its settings: ``python -m advvid.studies.estimate``.

Multiply-adds of each network's card, times the forward and backward passes of training and attacks, on a GPU that does
15 TFLOP in a second on 3-D convolutions. Attacks that stop early cost less than counted here.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from advvid.config.catalogue import notes, option_files, settings
from advvid.core.errors import AdvvidError
from advvid.models.cards import measure, native_clip
from advvid.studies.catalogue import papers, studies
from advvid.studies.composing import planned
from advvid.studies.plan import FULL
from advvid.studies.published import read_yaml

FILE = Path(__file__).resolve().parent / "gpu_hours.yaml"
FLOPS = 15e12
# Training and test clips.
CLIPS = {
    "ucf101": (8583, 3783),
    "hmdb51": (3213, 1530),
    "cifar10": (45000, 10000),
    "youtube8m": (4_000_000, 64_000),
    "moving_mnist": (8_000, 1_000),
}
CRAFTING = 100  # passes of one example of the injection defense
EVERY = ("AVG", "MAX", "MultiBN", "MultiBNManual")  # defenses that make every attack's clips for every batch
UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def known() -> dict[str, float]:
    """Return the estimated hours of each target, as ``main`` wrote them."""
    return {str(k): float(v) for k, v in read_yaml(FILE).items()}


def forward(model: str, dataset: Any) -> float:
    """Return the multiply-adds of one clip, from the model's card and in proportion to the clip."""
    path = option_files("model")[model]
    stated = notes(path).get("multiply-adds")
    number, unit = stated.split() if stated else (str(measure(path).multiply_adds), "")
    native = native_clip(path)
    shape = [int(dataset.get("frames", 1) or 1)]
    if len(native) == 3 and model != "inception_v3":  # which resizes to what it wants
        shape += [int(dataset["size"]), int(dataset["size"])]
    share = 1.0
    for have, own in zip(shape, native, strict=False):
        share *= have / own
    return float(number) * UNITS[unit] * share


def training_hours(cfg: DictConfig, model: str, data: str) -> float:
    """Return the hours of one training."""
    updates = cfg.schedule.get("updates_per_epoch")
    clips = CLIPS[data][0] if updates is None else updates * cfg.schedule.batch_size
    passes = cfg.schedule.epochs * clips * update_passes(cfg)
    return _hours((passes + crafting_passes(cfg.defense, CLIPS[data][0])) * forward(model, cfg.dataset))


def crafting_passes(defense: DictConfig, clips: int) -> float:
    """Return the passes of the examples that a defense makes once, before its training."""
    if kind_of(defense) != "Injection" or defense.examples != "adversarial":
        return 0.0
    return float(Fraction(str(defense.ratio))) * clips * CRAFTING


def update_passes(cfg: DictConfig) -> float:
    """Return the forward-backward passes of a clip in one update of a configuration's defense, as its class says.

    Example:
        >>> update_passes(planned(["defense=at", "defense.inner_steps=5"]))
        6.0
    """
    kind, inner = kind_of(cfg.defense), inner_steps(cfg)
    number = max(1, sum(attack is not None for attack in (cfg.defense.get("attacks") or {}).values()))
    if kind in ("NoDefense", "Injection"):
        return 1.0
    if kind == "MSD":  # one search over the union of the sets, each step compared by forward passes alone
        return inner + number * (inner + 1) / 2 * (number > 1) + 1.0
    return (number if kind in EVERY else 1) * (inner + 1.0) + (1.5 if kind == "TRADES" else 0.0)


def inner_steps(cfg: DictConfig) -> float:
    """Return the steps of the inner attack of training, on average over several attacks that have their own."""
    given = cfg.defense.get("inner_steps", 0)
    if given != "own":
        return float(given)
    attacks = cfg.defense.get("attacks") or (cfg.defense.get("adversary") or {}).get("attacks") or {"": cfg.attack}
    steps = [attack_steps(attack, cfg) for attack in attacks.values() if attack is not None]
    return sum(steps) / len(steps)


def kind_of(node: DictConfig) -> str:
    """Return the name of the class that a node of the configuration makes."""
    return str(node.get("_target_")).rsplit(".", 1)[-1]


def scoring_hours(cfg: DictConfig, model: str, data: str) -> float:
    """Return the hours of one evaluation; an analysis counts as its attack at five settings, or as its choices of frames."""
    steps = [attack_steps(node, cfg) for node in cfg.suite.values() if OmegaConf.is_dict(node) and "_target_" in node]
    if cfg.get("analysis"):
        choices = frame_choices(cfg.analysis, cfg)
        steps = [choices or 5 * float(cfg.attack.get("steps", 1))]
    clips = cfg.dataset.limit_test or CLIPS[data][1]
    return _hours(clips * (1 + sum(steps)) * forward(model, cfg.dataset))


def attack_steps(node: Any, cfg: DictConfig) -> float:
    """Return the passes of one attack of a clip: those of a search for its key frame are those of ``SparseAttack``."""
    inner = node.get("attack")
    own = float(node.get("steps") or (inner.get("steps") if inner is not None else 0) or 1)
    frame = node.get("key_frame")
    if frame == "bayesian":
        return own + int(node["trials"]) * int(node["trial_steps"] or own)
    return own * int(cfg.dataset.frames) if frame == "brute_force" else own


def frame_choices(node: Any, cfg: DictConfig) -> float:
    """Return the passes of all choices of a key frame, or points of ``loss_by_step``, of an analysis; 0 for others."""
    kind = kind_of(node)
    if kind == "LossByStep":
        points = [{**node.attack, "key_frame": rule, "steps": n} for rule in node.key_frames for n in node.steps]
        return sum(attack_steps(point, cfg) for point in points)
    if kind != "FrameSearch":
        return 0
    return sum(attack_steps({**node.attack, "key_frame": rule}, cfg) for rule in ("first", "bayesian", "brute_force"))


def _hours(multiply_adds: float) -> float:
    return multiply_adds * 2 * 3 / FLOPS / 3600  # a pass back costs twice a pass forward


def count(names: tuple[str, ...] = ()) -> dict[str, float]:
    """Return the hours of each target of some papers (of all), a training that several tables share in each of them."""
    found: dict[str, float] = {}
    costs: dict[tuple[str, str, str], float] = {}

    def cost(paper: str, run: str, score: str) -> float:
        if (paper, run, score) not in costs:
            study = studies()[paper]
            overrides = study.overrides(run, score, FULL)
            cfg = planned(overrides)
            model = stem(overrides, cfg)
            of = scoring_hours if score else training_hours
            costs[paper, run, score] = of(cfg, model, study.runs[run].data[0])
        return costs[paper, run, score]

    for study in papers(names).values():
        for target in study.targets.values():
            pairs = list(target.wanted(FULL))
            hours = sum(cost(study.name, run, "") for run in {run for run, _ in pairs})
            found[target.id] = round(hours + sum(cost(study.name, *pair) for pair in pairs), 2)
    return found


def stem(overrides: list[str], cfg: DictConfig) -> str:
    """Return the model's option: the one on the command line, or that whose settings these are."""
    if OmegaConf.select(cfg.model, "net.backbone") == "inception_v3":
        return "inception_v3"  # beside which the recurrent part costs nothing
    given = next((override.partition("=")[2] for override in overrides if override.startswith("model=")), "")
    if given:
        return given
    cell = ["net.cell"] if OmegaConf.select(cfg.model, "net.cell") != "none" else []  # the CNN of any of them
    for name, path in option_files("model").items():
        own = OmegaConf.create({"model": settings(path)}).model
        same = [
            key
            for key in ("_target_", "net._target_", "net.depth", "net.family", *cell)
            if OmegaConf.select(own, key) != OmegaConf.select(cfg.model, key)
        ]
        if not same:
            return name
    raise AdvvidError(f"no option of model is a {cfg.model.get('_target_')}: its cost cannot be counted")


def main() -> int:
    """Count all targets and write the file that ``list`` reads."""
    FILE.write_text(
        "# Hours of a GPU at 15 TFLOP/s, counted by python -m advvid.studies.estimate\n" + yaml.safe_dump(count())
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

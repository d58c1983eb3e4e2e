"""The options of a run that belong to none of its parts, each with what it may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen
from omegaconf import DictConfig, OmegaConf

from advvid.core.allowed import hints_of, require_all
from advvid.core.errors import AdvvidError
from advvid.core.kinds import CodecName, Count, FilePath, Postprocess, Seed, Whole

# The groups of which a run has exactly one option each.
PARTS = ("dataset", "model", "attack", "defense", "schedule", "suite", "runtime", "tracker")


@dataclass(frozen=True)
class Evaluation:
    """How the columns of a table are made; ``evaluation.*`` of ``conf/train.yaml``, where each option is explained."""

    batch_size: Count
    micro_batch: Count | None
    split: Literal["train", "val", "test"]
    accesses: Literal["all", "strongest"]
    eot_samples: Count
    pictures: Annotated[int, Ge(0), Le(1000)]
    codec: CodecName
    codec_quality: Whole | None


@dataclass(frozen=True)
class Options:
    """The options at the top of ``conf/train.yaml``, where each is explained."""

    mode: Literal["train", "eval", "train_eval", "attack"]
    checkpoint: FilePath | None
    files: FilePath | Annotated[Sequence[FilePath], MinLen(1)] | None
    labels: str | int | Sequence[str | int | None] | None
    whole: bool
    purify_training: bool
    resume: bool
    overwrite: bool
    postprocess: Postprocess | Annotated[Sequence[Postprocess], MinLen(1)] | None
    trust: str | Sequence[str] | None
    seed: Seed
    name: str


def check_top(cfg: DictConfig) -> None:
    """Refuse values of the options that belong to no part, and parts that are none; nothing is made.

    Raises:
        AdvvidError: naming the option, its value and what is possible.
    """
    for part in ("evaluation", *PARTS):
        if not isinstance(cfg.get(part), DictConfig):
            raise AdvvidError(
                f"{part}={cfg.get(part)!r} is not possible: choose {part}=<name>, or set its options by name"
                if part != "evaluation"
                else f"evaluation={cfg.get(part)!r} is not possible: set its options by name, as in evaluation.batch_size=50"
            )
    for node, declared, prefix in ((cfg, Options, ""), (cfg.evaluation, Evaluation, "evaluation.")):
        hints = hints_of(declared)
        # A title may refer to what only a command line knows.
        told = [
            name for name in hints if name in node and not (name == "name" and OmegaConf.is_interpolation(node, name))
        ]
        require_all({name: _plain(node[name]) for name in told}, hints, prefix)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

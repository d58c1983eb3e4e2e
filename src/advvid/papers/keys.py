"""The name of a piece of work: a hash of every setting that its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from advvid.errors import AdvvidError
from advvid.help import explain
from advvid.paths import conf_dir

# Where data lies, how fast it is read and which clips are scored do not change what a training learns.
PLACES = ("root", "splits", "workers", "cache", "cache_gb", "decoder")
TRAINING = ("model", "attack", "defense", "schedule", "seed")
SCORING = ("suite", "purifier", "analysis", "survive", "evaluation", "attack", "seed")


def composed(words: Sequence[str]) -> DictConfig:
    """Compose a configuration as the command line would.

    Raises:
        AdvvidError: if the words name what does not exist.
    """
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose("train", overrides=list(words))
    except (HydraException, OmegaConfBaseException) as error:
        raise AdvvidError(f"cannot be composed: {explain(error)}") from error


def training_key(words: Sequence[str]) -> str:
    """Return what names a training; how it is scored enters only where the words say what suite it hands on."""
    cfg = composed(words)
    parts = (*TRAINING, "suite") if has_suite(words) else TRAINING
    return _hash({part: _plain(cfg[part]) for part in parts}, _data(cfg, "limit_test"))


def has_suite(words: Sequence[str]) -> bool:
    """Tell whether the words choose a suite."""
    return any(word.startswith("suite=") for word in words)


def scoring_key(training: str, words: Sequence[str]) -> str:
    """Return what names an evaluation of the training with this key; ``words`` are those of both.

    ``checkpoint`` and ``mode`` are left to whoever carries it out.
    """
    cfg = composed(words)
    return _hash(training, {part: _plain(cfg.get(part)) for part in SCORING}, _data(cfg))


def _data(cfg: DictConfig, *without: str) -> Any:
    plain: Mapping[str, Any] = _plain(cfg.dataset)
    return {key: value for key, value in plain.items() if key not in (*PLACES, *without)}


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node


def _hash(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()

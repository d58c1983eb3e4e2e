"""What a search over settings, such as Optuna's, is told of a run: never anything of the test split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from advvid.core import checkpoint
from advvid.core.errors import AdvvidError


def sought(cfg: DictConfig, run_dir: Path, result: Mapping[str, Any]) -> float:
    """Return the value of a run by which a search chooses.

    Of a training it is the validation accuracy by which its best checkpoint was chosen (where nothing is right or wrong, the
    negative loss), of an evaluation of the validation split the union.

    Args:
        cfg: of the run.
        run_dir: where it wrote.
        result: what it returned.

    Raises:
        AdvvidError: for a run that has no such value.

    Example:
        >>> cfg = OmegaConf.create({"mode": "eval", "evaluation": {"split": "val"}})
        >>> sought(cfg, Path(), {"union": {"acc": 0.25}})
        0.25
    """
    if cfg.mode in ("train", "train_eval"):
        return float(checkpoint.load(run_dir / "checkpoints" / "last.pt")["best"])
    union = result.get("union") or {}
    if cfg.mode != "eval" or cfg.evaluation.split != "val" or union.get("acc") is None:
        raise AdvvidError(
            "a search over settings chooses by validation clips: use mode=train, or mode=eval with evaluation.split=val"
        )
    return float(union["acc"])

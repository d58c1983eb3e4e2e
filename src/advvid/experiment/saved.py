"""What an evaluation or an attack takes over from the run that trained the model.

The run may be a stranger's. Nothing that it says becomes text that Hydra reads, a folder that is written to, or an object
other than ``safe_instantiate`` allows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from advvid.config.command_line import MULTIRUN, typed_path
from advvid.config.folders import folders
from advvid.config.instantiate import find_target, safe_instantiate
from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.core.saved_config import NAME

log = logging.getLogger(__name__)

# The modes that work on a finished run's model.
FINISHED = ("eval", "attack")
# The parts of the configuration that an evaluation inherits; device, tracker and the like are the present run's own.
GROUPS = ("dataset", "model", "attack", "defense", "suite", "schedule")
VALUES = ("seed", "evaluation")
# What is scored: who names one of these means it as it is shipped, even if the run was trained with one of that name.
SCORED = ("suite", "attack")


def with_saved_choices(arguments: Sequence[str]) -> list[str]:
    """Add the saved run's group choices to the command line of an evaluation or an attack.

    With them ``mode=eval checkpoint=... attack.ratio=0.2`` composes where the run's attack has a ratio and the
    default one has not. Choices of the command line win; those that are added are quoted, which Hydra takes for the same
    and by which ``adopt`` knows them.
    """
    arguments = list(arguments)
    given = dict(a.split("=", 1) for a in arguments if "=" in a and not a.startswith(("-", "+", "~")))
    source = given.get("checkpoint", "")
    several = "," in source and any(flag in arguments for flag in MULTIRUN)
    if given.get("mode") not in FINISHED or source in ("", "null") or several:
        return arguments
    config = checkpoint.load_run(checkpoint.find(typed_path(source)))["config"]
    saved, homes = config["choices"], folders(arguments)
    # The name that is added is that of a file which lies there: the run only says which one.
    known = {g: [name for name in _options(homes, g) if name == saved.get(g)][:1] for g in GROUPS if g not in given}
    behind = config.get("purifier") if config.get("purify_training") is True and "purifier" not in given else None
    front = [name for name in behind if name in _options(homes, "purifier")] if isinstance(behind, Mapping) else []
    added = [f"purifier=[{','.join(map(repr, front))}]"] if front else []
    return [*arguments, *(f"{g}='{name}'" for g, names in known.items() for name in names), *added]


def _options(homes: Sequence[Path], group: str) -> list[str]:
    """Return the names of a group's options: the files that lie in its folders, as they are listed there."""
    return [path.stem for folder in homes for path in (folder / group).glob("*.yaml") if NAME.fullmatch(path.stem)]


def adopt(cfg: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str]) -> tuple[DictConfig, dict[str, Any]]:
    """Return the configuration with the saved run's parts in place of the composed ones, for ``mode=eval`` and ``mode=attack``.

    What the command line sets (a group, or a key of one) wins over the saved run. A suite or an attack that it names is the
    shipped one, whatever the training had changed in it; a data set, model or defense of the saved name keeps the saved
    settings, without which the weights would not fit. Everything is left as it is in the other modes.
    """
    names = dict(choices)
    if cfg.mode not in FINISHED or cfg.checkpoint is None:
        return cfg, names
    source = checkpoint.find(cfg.checkpoint)
    saved = checkpoint.load_run(source)["config"]
    keys = [o.lstrip("+~").split("=", 1)[0].split("@")[-1] for o in overrides]
    named = {o.split("=", 1)[0] for o in overrides if "=" in o and not o.split("=", 1)[1].startswith("'")}
    composed = cfg.copy()
    chosen = [o for o in overrides if o.startswith("purifier=") and not o.startswith("purifier=['")]
    with open_dict(cfg):
        if saved.get("purify_training") is True:
            _adopt_front(cfg, saved, source, chosen)
        for part in (*GROUPS, *VALUES):
            choice = saved["choices"].get(part)
            if part in keys and (part not in GROUPS or names.get(part) != choice):
                continue
            if part in SCORED and part in named:
                continue
            if part in saved:
                _check_form(saved[part], part, source)
                # A run of an older version knows nothing of later options, which keep their defaults.
                cfg[part] = OmegaConf.merge(cfg[part], saved[part]) if part == "evaluation" else saved[part]
                if part == "dataset" and "dataset.root" not in keys:
                    _keep_to_own_folders(cfg.dataset, source)
            if choice is not None:
                names[part] = choice
        for key in keys:
            if "." in key and key.split(".")[0] in (*GROUPS, *VALUES, "purifier"):
                OmegaConf.update(cfg, key, OmegaConf.select(composed, key), force_add=True)
    return cfg, names


def _adopt_front(cfg: DictConfig, saved: Mapping[str, Any], source: Path, chosen: Sequence[str]) -> None:
    """Put the purifiers that a network was trained behind in front of it, unless the command line chooses its own."""
    if chosen:
        log.warning(
            "%s was trained behind purifier=[%s] and is used with %s: leave it out for the front of training",
            source,
            ",".join(map(str, saved.get("purifier") or ())),
            chosen[-1],
        )
        return
    _check_form(saved.get("purifier"), "purifier", source)
    cfg.purifier, cfg.purify_training = saved["purifier"], True


def _check_form(value: Any, part: str, source: Path) -> None:
    """Refuse a part of a stored configuration that is no part of one."""
    if (not isinstance(value, int) or isinstance(value, bool)) if part == "seed" else not isinstance(value, Mapping):
        raise AdvvidError(
            f"the checkpoint {source} says {part}={str(value)[:80]!r}, which is no {part}: give {part}=..."
        )


def _keep_to_own_folders(dataset: DictConfig, source: Path) -> None:
    """Let nothing be written where a run says that its data lie.

    Data that lie there are read. A data set that makes its files, and finds them not whole there, has them made where it
    would without the run; and frames are cached where the present command line says.
    """
    if dataset.get("cache") != "auto" and "cache" in dataset:
        dataset.cache = None
    if dataset.get("root") is None or not hasattr(find_target(dataset.get("_target_"), "dataset"), "intact"):
        return
    if not safe_instantiate(dataset).intact():
        log.warning(
            "the data that %s was trained on are not whole in %s: they are made again elsewhere (give dataset.root=... "
            "for a folder of your own)",
            source,
            dataset.root,
        )
        dataset.root = None

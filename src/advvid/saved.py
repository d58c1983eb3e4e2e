"""What an evaluation or an attack takes over from the run that trained the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from advvid import checkpoint
from advvid.paths import conf_dir

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
    if given.get("mode") not in FINISHED or source in ("", "null") or "," in source:
        return arguments
    saved = checkpoint.load(checkpoint.find(source))["config"].get("choices", {})
    known = [g for g in GROUPS if g in saved and g not in given and (conf_dir() / g / f"{saved[g]}.yaml").is_file()]
    return [*arguments, *(f"{g}='{saved[g]}'" for g in known)]


def adopt(cfg: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str]) -> tuple[DictConfig, dict[str, Any]]:
    """Return the configuration with the saved run's parts in place of the composed ones, for ``mode=eval`` and ``mode=attack``.

    What the command line sets (a group, or a key of one) wins over the saved run. A suite or an attack that it names is the
    shipped one, whatever the training had changed in it; a data set, model or defense of the saved name keeps the saved
    settings, without which the weights would not fit. Everything is left as it is in the other modes.
    """
    names = dict(choices)
    if cfg.mode not in FINISHED or cfg.checkpoint is None:
        return cfg, names
    saved = checkpoint.load(checkpoint.find(cfg.checkpoint))["config"]
    keys = [o.lstrip("+~").split("=", 1)[0].split("@")[-1] for o in overrides]
    named = {o.split("=", 1)[0] for o in overrides if "=" in o and not o.split("=", 1)[1].startswith("'")}
    composed = cfg.copy()
    with open_dict(cfg):
        for part in (*GROUPS, *VALUES):
            choice = saved["choices"].get(part)
            if part in keys and (part not in GROUPS or names.get(part) != choice):
                continue
            if part in SCORED and part in named:
                continue
            if part in saved:
                # A run of an older version knows nothing of later options, which keep their defaults.
                cfg[part] = OmegaConf.merge(cfg[part], saved[part]) if part == "evaluation" else saved[part]
            if choice is not None:
                names[part] = choice
        for key in keys:
            if "." in key and key.split(".")[0] in (*GROUPS, *VALUES):
                OmegaConf.update(cfg, key, OmegaConf.select(composed, key), force_add=True)
    return cfg, names

"""From a configuration to a finished run: the only place where parts are made and put together."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from advvid.config.options import check_top
from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.core.option_parts import ROUNDING
from advvid.core.resuming import CLIPS, of_run
from advvid.core.run_folder import at_work, make_room
from advvid.core.saved_config import stored
from advvid.distributed.lightning import Fabric
from advvid.distributed.parallel import Processes
from advvid.experiment.attack_mode import check_options
from advvid.experiment.one_run import Run, same_training
from advvid.experiment.parts import Parts, build
from advvid.experiment.saved import FINISHED


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
        same_training(of_run(cfg, parts.runtime.world_size), parts, run_dir, config, (CLIPS, ROUNDING))
    if parts.runtime.world_size > 1 and (cfg.mode == "attack" or parts.analysis is not None):
        raise AdvvidError("mode=attack and analysis=... use one process: choose runtime=auto, cpu or gpu")
    if parts.runtime.strategy == "fsdp" and not finished and parts.defense.unsharded:
        raise AdvvidError(
            f"runtime=fsdp cannot train defense={choices.get('defense')}, which {parts.defense.unsharded}: choose runtime=ddp"
        )
    run = Run(cfg=cfg, run_dir=run_dir, choices=dict(choices), config=config, source=source)
    # Other processes make their own parts; what was made here is not sent to them.
    result: dict[str, Any] = parts.runtime.launch(_work, run, parts if parts.runtime.world_size == 1 else None) or {}
    return result


def _work(fabric: Fabric, processes: Processes, run: Run, parts: Parts | None) -> dict[str, Any]:
    """Carry out a run in one of its processes; the first one writes and speaks, and holds the folder."""
    run.run_dir = Path(processes.first(str(run.run_dir)))
    run.fabric, run.processes = fabric, processes
    with at_work(run.run_dir) if processes.main else nullcontext():
        if processes.main:
            make_room(run.cfg, run.run_dir)
        run.parts = build(run.cfg, run.choices.get("attack", "attack")) if parts is None else parts
        return run.carry_out()

"""Whether a training may go on from a checkpoint: only where everything that it rests on is as it was."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from advvid.core import digests
from advvid.core.errors import AdvvidError
from advvid.core.identity import Difference, Identity, described, flat, versions
from advvid.core.option_parts import ROUNDING, part_of

log = logging.getLogger(__name__)

# The part with the digests of the clips of each split; the options of the part ``data`` say how they were chosen.
CLIPS = "clips"
CHOOSING = ("data", "view")
# The part with the digest of the weights that a prerequisite begins with.
START = "start"


def of_parts(
    defense: Any, schedule: Any, attacks: Mapping[str, Any], seed: int, scheduled: str = "schedule"
) -> Identity:
    """Return what a training rests on by the objects that it is made of, where no configuration says it.

    Args:
        defense: a dataclass, as all of these are.
        schedule: of the training.
        attacks: trained against, by name.
        seed: of everything random.
        scheduled: what the schedule is called in messages.

    Example:
        >>> of_parts(AT(), Schedule(), {"pgd": PGD()}, 0).parts["training"]["schedule.epochs"]     # doctest: +SKIP
        60.0
    """
    told = {
        "defense": {"defense": defense},
        "training": {scheduled: schedule},
        "attack": {f"attack {name}": attack for name, attack in attacks.items()},
        "seed": {"seed": seed},
    }
    return Identity(
        {
            part: {
                option: digests.canonical(value)
                for name, found in values.items()
                for option, value in flat(described(found, name), name)
                if part_of(option) is not None
            }
            for part, values in told.items()
        }
    )


def of_run(config: Any, processes: int) -> Identity:
    """Return what the training of a run rests on, by its configuration.

    Args:
        config: of the run.
        processes: that share the training; how many there are does not always stand in the configuration.
    """
    chosen = Identity.of(config).training
    shared = {key: value for key, value in chosen.parts.get("processes", {}).items() if key != "runtime.devices"}
    return chosen.with_part("processes", {**shared, "the number of processes": processes})


def with_machine(identity: Identity, device: torch.device) -> Identity:
    """Return the identity with where it is computed and by what, which moves the last bits of the weights."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return identity.with_part(ROUNDING, {"device": name, "threads": torch.get_num_threads(), **versions()})


def go_on(
    saved: Mapping[str, Any],
    now: Identity,
    folder: Path,
    config: Mapping[str, Any] | None = None,
    longer: bool = False,
    left: Sequence[str] = (),
) -> list[str]:
    """Refuse to go on with a training that rests on something else now, naming every change.

    Args:
        saved: the checkpoint to go on from.
        now: what the training rests on now.
        folder: of the training.
        config: of the run, for the names of its choices.
        longer: whether nothing that was done so far depends on the number of epochs.
        left: parts that are left aside.

    Returns:
        in words, each difference of the machine or a package over the whole training, by which last bits may differ.

    Raises:
        AdvvidError: with the old and the new value of each option, and what to do.
    """
    old = Identity.load(saved.get("identity"))
    if old is None:
        raise AdvvidError(
            f"the training in {folder} was begun by an older version, which did not write down what it rests on, so that it "
            f"cannot safely go on: train in another folder, or score it as it is with mode=eval checkpoint={folder}"
        )
    found = now.without(*left).differences(old.without(*left))
    done = saved.get("epoch", 0) + bool(saved.get("batch", 0))
    changed = [d for d in found if d.part != ROUNDING and not (longer and _lengthens(d, done))]
    if any(d.part in CHOOSING for d in changed):  # other clips follow from that
        changed = [d for d in changed if d.part != CLIPS]
    if changed:
        choices = [_choices(given) for given in (saved.get("config"), config)]
        raise AdvvidError(
            f"the training in {folder} cannot go on with other settings: {'; '.join(_said(changed, *choices))}; give the old "
            "values again, choose another hydra.run.dir, or begin anew with overwrite=true"
        )
    moved = [str(d) for d in found if d.part == ROUNDING]
    if moved:
        log.warning(
            "the training in %s goes on elsewhere than before, its last bits may differ: %s", folder, "; ".join(moved)
        )
    return list(dict.fromkeys([*elsewhere(saved), *moved]))


def may_lengthen(schedule: Any, defense: Any) -> bool:
    """Tell whether nothing that a training has done depends on its number of epochs."""
    return bool(schedule.steady and not defense.paced)


def elsewhere(saved: Mapping[str, Any]) -> list[str]:
    """Return in words how the machine or its packages changed while the weights of a checkpoint were trained."""
    told = saved.get("resumed_with")
    return [str(words) for words in told] if isinstance(told, list) else []


def _lengthens(difference: Difference, done: int) -> bool:
    """Tell whether the schedule has another number of epochs, not below those that are done."""
    lengths = difference.part == "training" and difference.option.endswith("schedule.epochs")
    return lengths and isinstance(difference.new, float) and difference.new >= done


def _choices(config: Any) -> Mapping[str, Any]:
    choices = config.get("choices") if isinstance(config, Mapping) else None
    return choices if isinstance(choices, Mapping) else {}


def _said(changed: Sequence[Difference], old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say each change; of a group with another class its choice alone, since the rest follows."""
    classes = [d.option.split(".")[0] for d in changed if d.option.count(".") == 1 and d.option.endswith("._target_")]
    chosen = {g: f"{g} was {old[g]} and is now {new[g]}" for g in classes if g in old and g in new and old[g] != new[g]}
    said = [chosen.get(d.option.split(".")[0], _sentence(d)) for d in changed]
    return list(dict.fromkeys(said))


def _sentence(difference: Difference) -> str:
    if difference.part == CLIPS:
        return f"the content of the {difference.option} clips (files, labels or their order) is another"
    if difference.part == START:
        return f"the weights that the {difference.option} begins with are others"
    return str(difference)

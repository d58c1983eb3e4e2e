"""What trainings at full scale start from: a file of weights for each network, the weights of other trainings, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from advvid.core.errors import AdvvidError
from advvid.studies.composing import chosen, planned
from advvid.studies.plan import FULL, TRAIN, Study, Target, Work

Wanted = Sequence[tuple[Study, Target]]


def read_weights(given: Sequence[str]) -> dict[str, str]:
    """Return the files of ``--weights NETWORK=FILE``, by the name of the network's option of ``model``.

    Raises:
        AdvvidError: for what is no such pair, a file that is not there, or two files for one network.

    Example:
        >>> read_weights([])
        {}
    """
    found: dict[str, str] = {}
    for pair in given:
        name, _, path = pair.partition("=")
        if not name or not path:
            raise AdvvidError(f'weights are given as network=file, not {pair!r}: such as WEIGHTS="i3d=/w/i3d.pt"')
        if name in found:
            raise AdvvidError(f"two files of weights are given for {name}: leave {found[name]} or {path} out")
        if not Path(path).is_file():
            raise AdvvidError(f"there is no file {path}, where the weights of {name} should be")
        found[name] = path
    return found


def network(work: Work) -> str:
    """Return the option of ``model`` that a training of the full scale uses."""
    return chosen(work.overrides[FULL])["model"]


def begins_anew(work: Work) -> bool:
    """Tell whether a training at full scale starts with no other training's weights."""
    return work.program == TRAIN and FULL not in work.start


def check_weights(wanted: Wanted, weights: Mapping[str, str], told: Sequence[str] = ()) -> None:
    """Refuse a set of files before anything is computed.

    Args:
        wanted: the targets that are to be made at full scale.
        weights: files by network.
        told: further overrides of every run.

    Raises:
        AdvvidError: where one network of the targets has no file while others have, a CNN that is not trained has none,
            or a file is for a network that no target trains.
    """
    works = [
        (study, target, work) for study, target in wanted for work in _trainings(study, target) if begins_anew(work)
    ]
    used = {network(work): study.pretrained.get(network(work)) for study, _, work in works}
    unused = [name for name in weights if name not in used]
    if unused:
        raise AdvvidError(f"no training of these tables uses {unused[0]}: give weights of {', '.join(sorted(used))}")
    for study, target, work in works:
        name = network(work)
        model = planned((*work.overrides[FULL], *told)).model
        frozen = (model.get("net") or {}).get("train_backbone") is False and not model.get("checkpoint")
        if name in weights or not (frozen or (weights and name in study.pretrained)):
            continue
        first = study.pretrained.get(name, "")
        lacking = f"{name}, which the paper starts from {first}" if first else name
        if frozen:
            lacking = f"{name}, whose CNN is not trained ({first})"
        raise AdvvidError(f'{target.id} needs the weights of {lacking}: add {name}=<file> to WEIGHTS="..."')


def starts(study: Study, target: Target, scale: str, weights: Mapping[str, str] | None = None) -> str:
    """Say what each training of a target begins with; "" for a demo without trainings that go on from others."""
    found: dict[str, list[str]] = {}
    for work in _trainings(study, target, scale):
        name = work.name.removesuffix(f"_seed{work.seed}")
        if scale in work.start:
            said = f"the weights of {work.start[scale].removesuffix(f'_seed{work.seed}')}"
        elif scale != FULL or work.program != TRAIN:
            continue
        else:
            said = _beginning(network(work), study.pretrained, weights or {})
        others = found.setdefault(said, [])
        others += [name] if name not in others else []
    parts = [f"{', '.join(runs)} start{'s' if len(runs) == 1 else ''} from {first}" for first, runs in found.items()]
    return f"Trainings: {'; '.join(parts)}." if parts else ""


def _beginning(name: str, pretrained: Mapping[str, str], weights: Mapping[str, str]) -> str:
    if name in weights:
        return f"the file {Path(weights[name]).name} ({name})"
    paper = f", where the paper starts from {pretrained[name]}" if name in pretrained else ""
    return f"random weights{paper}"


def _trainings(study: Study, target: Target, scale: str = FULL) -> Iterable[Work]:
    """Return the trainings of a target; at full scale also those that they begin with or name."""
    names = dict.fromkeys(run for run, _ in target.wanted(scale))
    left = list(target.wanted(scale)) if scale == FULL else []
    while left:
        run, score = left.pop()
        others = [name for name in study.needs(run, score, scale) if name not in names]
        names |= dict.fromkeys(others)
        left += [(name, "") for name in others]
    return [study.runs[name] for name in names]
